"""The early check that trials can be exported."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from app.export.export_check import ExportCheck
from app.export.model_exporter import ModelExporter
from app.run.journal import Journal
from app.run.record import Record
from tests.support import networks


def check_messages(folder: Path, trainable: Any, *, start: bool) -> list[str]:
    """The messages of a check over two epochs of a trial, and before them if it is started."""
    snapshot, messages = networks.snapshot(trainable, folder), list[str]()
    journal = Journal(folder, Record("r", "loss", "min", seed=3))
    check = ExportCheck(ModelExporter(journal, snapshot.experiment, trainable, {}))
    with ThreadPoolExecutor(1) as background:
        if start:
            check.start(background, messages.append)
        journal.append("trial", trial_id="001", config={"lr": 0.5}, leg=1)
        check.on_event("trial", journal.record.trials["001"], background, messages.append)
        for epoch in (1, 2):
            journal.append(
                "epoch", trial_id="001", epoch=epoch, metrics={"loss": 1.0}, seconds=1.0,
                checkpoint="checkpoint",
            )  # fmt: skip
            check.on_event("epoch", journal.record.trials["001"], background, messages.append)
        check.wait()
    journal.close()
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {"checkpoint"}
    return messages


def test_a_fixed_batch_size_is_reported_before_training(tmp_path: Path) -> None:
    (message,) = check_messages(tmp_path, networks.FixedBatchNetwork, start=True)
    assert message.startswith("no trial can be exported: forward()'s batch is fixed at 4: ")
    assert message.endswith("; the search goes on")


def test_a_failure_of_the_first_checkpoint_is_reported_once(tmp_path: Path) -> None:
    trainable = networks.trainable(networks.CASES["branches"])
    (message,) = check_messages(tmp_path, trainable, start=True)
    assert message.startswith("trial 001 after epoch 1 cannot be exported: the network has no ONNX")
    assert message.endswith("; the search goes on")


def test_nothing_is_reported_of_a_network_that_can_be_exported(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    assert check_messages(tmp_path, networks.SoundNetwork, start=True) == []
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("error", [SystemExit(0), KeyboardInterrupt(), ValueError("no")])
def test_the_search_goes_on_whatever_a_network_raises(error: BaseException, tmp_path: Path) -> None:
    def model(self: Any) -> Any:
        raise error

    trainable = type("Own", (networks.SoundNetwork,), {"model": model})
    (message,) = check_messages(tmp_path, trainable, start=False)
    assert message.startswith("trial 001 after epoch 1 cannot be exported: ")
    assert type(error).__name__ in message
