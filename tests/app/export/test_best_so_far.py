"""Export of the best model so far, while a search goes on."""

import json
import shutil
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from app.experiment import loading
from app.export.best_so_far import BestModelExport
from app.export.model_exporter import ModelExporter
from app.run.journal import Journal
from app.run.layout import WEIGHTS
from app.run.record import Record
from tests.support.small_mnist import SmallMnist
from trainables.script.trainable import ScriptTrainable

CONFIG = {"lr": 0.05, "batch_size": 64}
PINNED = {"momentum": 0.5, "seed": 0}


@pytest.fixture(scope="module")
def shared() -> Mapping[str, Any]:
    return SmallMnist.shared(None, False)


@dataclass
class Search:
    """A search of one trial, one epoch at a time."""

    journal: Journal
    trained: Any
    best_export: BestModelExport
    background: ThreadPoolExecutor
    messages: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.journal.folder

    def epoch(self, number: int, *, off_by: float = 0.0) -> None:
        """Train an epoch, report it, and remove its checkpoint at once."""
        metrics = {key: value for key, value in self.trained.step().items() if key != "epoch"}
        metrics["average_test_loss"] += off_by
        checkpoint = self.folder / f"checkpoint_{number}"
        checkpoint.mkdir()
        self.trained.save_checkpoint(str(checkpoint))
        self.journal.append(
            "epoch", trial_id="1", epoch=number, metrics=metrics, seconds=1.0,
            checkpoint=checkpoint.name,
        )  # fmt: skip
        self.best_export.on_event("epoch", self.background, self.messages.append)
        shutil.rmtree(checkpoint)

    def finish(self) -> None:
        self.background.submit(bool).result()  # Jobs submitted before have started.
        self.best_export.finish(self.messages.append)

    def exported(self) -> Any:
        return json.loads((self.folder / "model" / "model.json").read_text())


@pytest.fixture
def search(tmp_path: Path, shared: Mapping[str, Any]) -> Iterator[Search]:
    class Local(SmallMnist):
        def setup(self, config: dict[str, Any]) -> None:  # type: ignore[override]
            super().setup(config, **shared)

    asked = loading.load(None, {})
    journal = Journal(tmp_path, Record(tmp_path.name, asked.metric, asked.mode, asked.seed))
    journal.append("trial", trial_id="1", config=CONFIG, leg=1)
    best_export = BestModelExport(ModelExporter(journal, asked, SmallMnist, shared), print)
    with ThreadPoolExecutor(1) as background:
        yield Search(journal, Local(config={**CONFIG, **PINNED}), best_export, background)
    journal.close()


def test_each_improvement_with_the_recorded_loss_replaces_the_model(
    search: Search,
) -> None:
    (search.folder / WEIGHTS).touch()  # Of an earlier attempt, whose best trial had no model.
    search.epoch(1, off_by=10.0)
    search.finish()
    assert (search.folder / WEIGHTS).exists()
    search.epoch(2)
    search.finish()
    assert not (search.folder / WEIGHTS).exists()
    assert search.exported()["epoch"] == 2
    assert search.best_export.exported == ("1", 2)
    assert search.journal.record.model == "model"
    search.epoch(3, off_by=20.0)  # Its loss is recorded wrong,
    search.finish()
    search.epoch(4, off_by=-1.0)  # and so is this one.
    search.finish()
    assert search.exported()["epoch"] == 2
    wrong, good, also_wrong = search.messages
    assert wrong.startswith("trial 1 at epoch 1 is not exported: the exported model has")
    assert good == "exported trial 1 at epoch 2, the best so far"
    assert also_wrong.startswith("trial 1 at epoch 4 is not exported: the exported model has")
    # No files are left of the exports but the model.
    assert [path.name for path in search.folder.iterdir() if path.is_dir()] == ["model"]


def test_only_the_latest_waiting_improvement_is_exported(search: Search) -> None:
    may_start = threading.Event()
    search.background.submit(may_start.wait)
    search.epoch(1)
    search.epoch(2)
    may_start.set()
    search.finish()
    assert search.messages == ["exported trial 1 at epoch 2, the best so far"]


def test_finish_leaves_an_export_that_takes_too_long(search: Search) -> None:
    may_start = threading.Event()
    search.background.submit(may_start.wait)
    search.epoch(1)
    search.best_export.finish(search.messages.append, timeout_s=0.0)
    assert search.messages == []
    may_start.set()
    search.finish()


def test_an_exception_of_evaluate_becomes_a_line(search: Search) -> None:
    class Interrupting(SmallMnist):
        def evaluate(self, predict: Any) -> Any:
            raise KeyboardInterrupt

    search.best_export._exporter = replace(search.best_export._exporter, trainable=Interrupting)
    search.epoch(1)
    search.finish()
    assert search.messages == ["trial 1 at epoch 1 is not exported: KeyboardInterrupt"]
    assert search.journal.record.model is None


def test_a_scripts_model_is_recorded_with_its_last_epoch(tmp_path: Path) -> None:
    """A script saves its model when it ends, whichever of its values counts."""
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
    asked, messages = loading.load(file, {}), list[str]()
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
        best_export.on_event("end", background, messages.append)
        background.submit(bool).result()
        best_export.finish(messages.append)
    journal.close()
    assert best_export.exported == ("001", 1)
    assert journal.record.model_of == {"trial_id": "001", "epoch": 2}
    assert json.loads((run / "model/model.json").read_text())["epoch"] == 2
