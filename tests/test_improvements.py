"""The best model so far is exported while a search goes on."""

import json
import shutil
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from app import experiment
from app.improvements import Improvements
from app.journal import Journal, Record
from tests.small_mnist import SmallMnist

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
    improvements: Improvements
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
        self.improvements.heard("epoch", self.background, self.said.append)
        shutil.rmtree(checkpoint)

    def finish(self) -> None:
        self.background.submit(bool).result()  # What was asked for before it has been begun.
        self.improvements.finish(self.said.append)

    def exported(self) -> Any:
        return json.loads((self.folder / "model" / "model.json").read_text())


@pytest.fixture
def search(tmp_path: Path, shared: Mapping[str, Any]) -> Iterator[Search]:
    class Built(SmallMnist):
        def setup(self, config: dict[str, Any]) -> None:  # type: ignore[override]
            super().setup(config, **shared)

    asked = experiment.load(None, {})
    journal = Journal(tmp_path, Record(tmp_path.name, asked.metric, asked.mode, asked.seed))
    journal.append("trial", trial_id="1", config=CONFIG, leg=1)
    improvements = Improvements(journal, asked, SmallMnist, shared, "model", print)
    with ThreadPoolExecutor(1) as background:
        yield Search(journal, Built(config={**CONFIG, **PINNED}), improvements, background)
    journal.close()


def test_each_improvement_that_gives_its_loss_takes_the_place_of_the_one_before(
    search: Search,
) -> None:
    search.epoch(1, off_by=10.0)
    search.finish()
    search.epoch(2)
    search.finish()
    assert search.exported()["epoch"] == 2
    assert search.improvements.exported == ("1", 2)
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
