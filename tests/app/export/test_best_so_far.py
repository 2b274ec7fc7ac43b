"""The best model so far is exported while a search goes on."""

import json
import shutil
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from app.experiment import loading
from app.export.best_so_far import BestModelExport
from app.export.export_check import ExportCheck
from app.export.model_exporter import WEIGHTS, ModelExporter
from app.run.journal import Journal
from app.run.record import Record
from tests.support import networks
from tests.support.small_mnist import SmallMnist
from trainables.script.trainable import ScriptTrainable

CONFIG = {"lr": 0.05, "batch_size": 64}
PINNED = {"momentum": 0.5, "seed": 0}


@pytest.fixture(scope="module")
def shared() -> Mapping[str, Any]:
    return SmallMnist.shared(None, False)


@dataclass
class Search:
    """A search of one trial, whose epochs are told one by one."""

    journal: Journal
    trained: Any
    best_export: BestModelExport
    background: ThreadPoolExecutor
    said: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.journal.folder

    def epoch(self, number: int, *, off_by: float = 0.0) -> None:
        """Train one, tell of it, and remove the checkpoint at once."""
        metrics = {key: value for key, value in self.trained.step().items() if key != "epoch"}
        metrics["average_test_loss"] += off_by
        checkpoint = self.folder / f"checkpoint_{number}"
        checkpoint.mkdir()
        self.trained.save_checkpoint(str(checkpoint))
        self.journal.append(
            "epoch", trial_id="1", epoch=number, metrics=metrics, seconds=1.0,
            checkpoint=checkpoint.name,
        )  # fmt: skip
        self.best_export.on_event("epoch", self.background, self.said.append)
        shutil.rmtree(checkpoint)

    def finish(self) -> None:
        self.background.submit(bool).result()  # What was asked for before it has been begun.
        self.best_export.finish(self.said.append)

    def exported(self) -> Any:
        return json.loads((self.folder / "model" / "model.json").read_text())


@pytest.fixture
def search(tmp_path: Path, shared: Mapping[str, Any]) -> Iterator[Search]:
    class Built(SmallMnist):
        def setup(self, config: dict[str, Any]) -> None:  # type: ignore[override]
            super().setup(config, **shared)

    asked = loading.load(None, {})
    journal = Journal(tmp_path, Record(tmp_path.name, asked.metric, asked.mode, asked.seed))
    journal.append("trial", trial_id="1", config=CONFIG, leg=1)
    best_export = BestModelExport(ModelExporter(journal, asked, SmallMnist, shared), print)
    with ThreadPoolExecutor(1) as background:
        yield Search(journal, Built(config={**CONFIG, **PINNED}), best_export, background)
    journal.close()


def test_each_improvement_that_gives_its_loss_takes_the_place_of_the_one_before(
    search: Search,
) -> None:
    (search.folder / WEIGHTS).touch()  # Of an earlier leg, whose best trial gave no model.
    search.epoch(1, off_by=10.0)
    search.finish()
    assert (search.folder / WEIGHTS).exists()
    search.epoch(2)
    search.finish()
    assert not (search.folder / WEIGHTS).exists()
    assert search.exported()["epoch"] == 2
    assert search.best_export.exported == ("1", 2)
    assert search.journal.record.model == "model"
    search.epoch(3, off_by=20.0)  # This is none,
    search.finish()
    search.epoch(4, off_by=-1.0)  # and neither is this.
    search.finish()
    assert search.exported()["epoch"] == 2
    wrong, good, also_wrong = search.said
    assert wrong.startswith("trial 1 at epoch 1 is not exported: the exported model has")
    assert good == "exported trial 1 at epoch 2, the best so far"
    assert also_wrong.startswith("trial 1 at epoch 4 is not exported: the exported model has")
    # Nothing is left of what was exported but the model.
    assert [path.name for path in search.folder.iterdir() if path.is_dir()] == ["model"]


def test_of_those_that_wait_the_latest_is_exported(search: Search) -> None:
    may_begin = threading.Event()
    search.background.submit(may_begin.wait)
    search.epoch(1)
    search.epoch(2)
    may_begin.set()
    search.finish()
    assert search.said == ["exported trial 1 at epoch 2, the best so far"]


def test_one_that_does_not_end_is_left_to_itself(search: Search) -> None:
    may_begin = threading.Event()
    search.background.submit(may_begin.wait)
    search.epoch(1)
    search.best_export.finish(search.said.append, timeout_s=0.0)
    assert search.said == []
    may_begin.set()
    search.finish()


class Raising:
    """What a network's class may raise, beside any exception."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, trial: Any) -> Any:
        raise self.error


def rehearsed(folder: Path, brought: Any, *, begin: bool) -> list[str]:
    """What is said of two epochs of a trial, and before them where that is asked for."""
    snapshot, said = networks.snapshot(brought, folder), list[str]()
    journal = Journal(folder, Record("r", "loss", "min", seed=3))
    check = ExportCheck(ModelExporter(journal, snapshot.experiment, brought, {}))
    with ThreadPoolExecutor(1) as background:
        if begin:
            check.start(background, said.append)
        journal.append("trial", trial_id="001", config={"lr": 0.5}, leg=1)
        check.on_event("trial", journal.record.trials["001"], background, said.append)
        for epoch in (1, 2):
            journal.append(
                "epoch", trial_id="001", epoch=epoch, metrics={"loss": 1.0}, seconds=1.0,
                checkpoint="checkpoint",
            )  # fmt: skip
            check.on_event("epoch", journal.record.trials["001"], background, said.append)
        check.wait()
    journal.close()
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {"checkpoint"}
    return said


def test_a_network_that_takes_one_batch_only_is_told_before_it_is_trained(tmp_path: Path) -> None:
    (said,) = rehearsed(tmp_path, networks.FixedBatchNetwork, begin=True)
    assert said.startswith("no trial can be exported: forward()'s batch is fixed at 4: ")
    assert said.endswith("; the search goes on")


def test_what_a_first_checkpoint_shows_is_told_once(tmp_path: Path) -> None:
    brought = networks.trainable(networks.CASES["branches"])
    (said,) = rehearsed(tmp_path, brought, begin=True)
    assert said.startswith("trial 001 after epoch 1 cannot be exported: the network has no ONNX")
    assert said.endswith("; the search goes on")


def test_of_what_can_be_exported_nothing_is_said(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    assert rehearsed(tmp_path, networks.SoundNetwork, begin=True) == []
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("error", [SystemExit(0), KeyboardInterrupt(), ValueError("no")])
def test_whatever_a_network_raises_the_search_goes_on(error: BaseException, tmp_path: Path) -> None:
    brought = type("Own", (networks.SoundNetwork,), {"model": lambda self: Raising(error)(self)})
    (said,) = rehearsed(tmp_path, brought, begin=False)
    assert said.startswith("trial 001 after epoch 1 cannot be exported: ")
    assert type(error).__name__ in said


def test_what_an_evaluation_raises_becomes_a_line(search: Search) -> None:
    class Interrupting(SmallMnist):
        def evaluate(self, predict: Any) -> Any:
            raise KeyboardInterrupt

    search.best_export._exporter = replace(search.best_export._exporter, trainable=Interrupting)
    search.epoch(1)
    search.finish()
    assert search.said == ["trial 1 at epoch 1 is not exported: KeyboardInterrupt"]
    assert search.journal.record.model is None


def test_a_scripts_model_is_told_to_be_of_its_last_epoch(tmp_path: Path) -> None:
    """A script that saved its model at its end, and counts by the best of its values."""
    (tmp_path / "train.py").touch()
    file, run = tmp_path / "mine.toml", tmp_path / "r"
    file.write_text(
        'trainable = "script"\nmetric = "loss"\nmode = "min"\n'
        '[space]\nlr = { type = "continuous", low = 0.1, high = 0.5 }\n'
        '[script]\nentry_point = "train.py"\nvalue = "best"\n'
    )
    for name in ("code/train.py", "trials/001/model/model.pth"):
        (run / name).parent.mkdir(parents=True)
        (run / name).touch()
    asked, said = loading.load(file, {}), list[str]()
    journal = Journal(run, Record("r", "loss", "min", 0, "best"))
    journal.append("trial", trial_id="001", config={"lr": 0.2}, leg=1)
    for epoch, loss in ((1, 0.1), (2, 0.5)):
        journal.append(
            "epoch", trial_id="001", epoch=epoch, metrics={"loss": loss}, seconds=1.0,
            checkpoint=None,
        )  # fmt: skip
    journal.append("end", trial_id="001", status="completed", error=None)
    best_export = BestModelExport(
        ModelExporter(journal, asked, ScriptTrainable, {}), lambda trial: None
    )
    with ThreadPoolExecutor(1) as background:
        best_export.on_event("end", background, said.append)
        background.submit(bool).result()
        best_export.finish(said.append)
    journal.close()
    assert best_export.exported == ("001", 1)
    assert journal.record.model_of == {"trial_id": "001", "epoch": 2}
    assert json.loads((run / "model/model.json").read_text())["epoch"] == 2
