"""The Optuna study of a run, read as `optuna-dashboard` reads it."""

import math
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from app.experiment import schema
from app.run.errors import JournalError
from app.run.journal import Journal
from app.run.record import Record
from app.search.study_log import StudyLog

SPACE = {
    "batch_size": {"type": "categorical", "values": [64, 128, 32]},
    "momentum": {"type": "continuous", "low": 0.9, "high": 0.999, "scale": "reverse-log"},
    "lr": {"type": "continuous", "low": 0.001, "high": 0.1, "scale": "log"},
    "step": {"type": "continuous", "low": 0.0, "high": 0.3, "step": 0.1},
    "layers": {"type": "integer", "low": 1, "high": 4},
    "kind": {"type": "categorical", "values": ["a", 2, True]},
    "extra": {"type": "integer", "low": 1, "high": 64, "scale": "log", "when": {"layers": [3]}},
}
CONFIG = {
    "batch_size": 128,
    "momentum": 0.93,
    "lr": 0.01,
    "step": 0.3,
    "layers": 2,
    "kind": "a",
}
ASKED = schema.from_table(
    {"name": "q", "trainable": "mnist", "metric": "loss", "mode": "min", "space": SPACE}
)


class Run:
    """A journal with its study file beside it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "study.log"
        self.journal = Journal(folder, Record("q", "loss", "min", 0))
        self.journal.append("run", versions={})

    def follow(self) -> None:
        self.journal.observers.append(StudyLog(self.path, ASKED, self.journal.record).on_event)

    def trial(self, trial_id: str, **config: Any) -> None:
        self.journal.append("trial", trial_id=trial_id, config={**CONFIG, **config}, leg=1)

    def epoch(self, trial_id: str, epoch: int, loss: float) -> None:
        fields = {"metrics": {"loss": loss}, "seconds": 1.0, "checkpoint": None}
        self.journal.append("epoch", trial_id=trial_id, epoch=epoch, **fields)

    def end(self, trial_id: str, status: str) -> None:
        self.journal.append("end", trial_id=trial_id, status=status, error=None)

    def trials(self) -> list[Any]:
        storage = JournalStorage(JournalFileBackend(str(self.path)))
        return optuna.load_study(study_name="q", storage=storage).trials


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_trials_have_the_values_they_were_given(run: Run) -> None:
    run.follow()
    run.trial("001")
    run.trial("002", layers=3, kind=True, extra=64)
    first, second = run.trials()
    assert first.params == CONFIG
    assert second.params == {**CONFIG, "layers": 3, "kind": True, "extra": 64}
    assert second.params["kind"] is True
    assert first.user_attrs == {"trial_id": "001"}


def test_every_epoch_is_an_intermediate_value(run: Run) -> None:
    run.follow()
    run.trial("001")
    for epoch, loss in enumerate((0.5, 0.2, math.nan, 0.4), 1):
        run.epoch("001", epoch, loss)
    run.end("001", "completed")
    (trial,) = run.trials()
    assert trial.intermediate_values == {1: 0.5, 2: 0.2, 4: 0.4}
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.2)


def test_states_say_how_trials_ended(run: Run) -> None:
    run.follow()
    for trial_id, status in (("001", "completed"), ("002", "stopped"), ("003", "failed")):
        run.trial(trial_id)
        run.epoch(trial_id, 1, 0.5)
        run.end(trial_id, status)
    run.trial("004")
    run.epoch("004", 1, math.nan)
    run.end("004", "completed")
    run.trial("005")
    states = [(trial.state, trial.value) for trial in run.trials()]
    assert states == [
        (TrialState.COMPLETE, 0.5),
        (TrialState.PRUNED, 0.5),
        (TrialState.FAIL, None),
        (TrialState.FAIL, None),
        (TrialState.RUNNING, None),
    ]
    assert run.trials()[2].intermediate_values == {1: 0.5}


def test_an_epoch_trained_again_replaces_its_value(run: Run) -> None:
    run.follow()
    run.trial("001")
    run.epoch("001", 1, 0.1)
    run.epoch("001", 1, 0.3)
    run.end("001", "completed")
    (trial,) = run.trials()
    assert (trial.intermediate_values, trial.value) == ({1: 0.3}, 0.3)


def test_a_resumed_run_writes_the_study_again_from_the_journal(run: Run) -> None:
    run.path.write_text("an earlier attempt")
    warm = {"evaluated": [{"config": CONFIG, "value": 0.7}], "failed": [CONFIG], "points": []}
    run.journal.append("warm", **warm)
    run.trial("001")
    run.epoch("001", 1, 0.5)
    run.end("001", "completed")
    run.trial("002", lr=0.05)
    run.epoch("002", 1, 0.6)
    run.follow()
    assert [trial.state for trial in run.trials()] == [
        TrialState.COMPLETE,
        TrialState.FAIL,
        TrialState.COMPLETE,
    ]
    assert [trial.user_attrs.get("warm_start") for trial in run.trials()] == [True, True, None]
    run.trial("002", lr=0.05)
    run.epoch("002", 2, 0.4)
    # Ended by the run's budget, it counts as far as it came.
    run.end("002", "stopped")
    last = run.trials()[-1]
    assert (last.intermediate_values, last.value) == ({1: 0.6, 2: 0.4}, 0.4)
    assert len(run.trials()) == 4


def test_a_study_that_cannot_be_replaced_raises_a_journal_error(run: Run) -> None:
    run.path.mkdir()
    with pytest.raises(JournalError, match=r"^cannot write .*study\.log: "):
        run.follow()


def test_a_study_that_cannot_be_appended_to_raises_a_journal_error(run: Run) -> None:
    run.follow()
    run.path.unlink()
    run.path.mkdir()
    with pytest.raises(JournalError, match=r"^cannot write .*study\.log: "):
        run.trial("001")
