"""Beginning of an attempt: of a run whose name is taken, and of one that gets more epochs."""

import json
from pathlib import Path

import pytest

from app.engine import attempt
from app.engine.resumption import is_finished, resumed_experiment
from app.experiment import loading
from app.experiment.errors import ExperimentError
from app.experiment.schema import Experiment
from app.run import store
from app.run.layout import EXPERIMENT
from app.run.result_file import RESULT
from app.run.store import StoreError
from app.search.stoppers import apply_stoppers

USED = {"threads": 1, "data": {}}


def test_a_name_that_is_taken_while_a_run_begins_is_told(tmp_path: Path) -> None:
    experiment = loading.load(None, {})
    folder = tmp_path / "mnist"
    attempt.begin(folder, experiment, USED).close()
    written = (folder / EXPERIMENT).read_bytes()
    sentence = r"^--name: there is a run 'mnist' in .*; choose another name, or .* --resume mnist$"
    with pytest.raises(StoreError, match=sentence):
        attempt.begin(folder, experiment, {**USED, "threads": 2})
    assert (folder / EXPERIMENT).read_bytes() == written
    assert [path.name for path in tmp_path.iterdir()] == ["mnist"]


def completed(folder: Path, experiment: Experiment, **trial: object) -> None:
    """A run of one trial that completed with two epochs, of which the last has a checkpoint."""
    journal = attempt.begin(folder, experiment, USED)
    journal.append("trial", trial_id="001", config={"lr": 0.1, "batch_size": 32}, leg=1)
    for epoch in (1, 2):
        checkpoint = f"tune/001/checkpoint_{epoch}"
        (folder / checkpoint).mkdir(parents=True)
        (folder / checkpoint / "state").touch()
        metrics = {"average_test_loss": 0.5 / epoch}
        fields = {"epoch": epoch, "metrics": metrics, "seconds": 1.0, "checkpoint": checkpoint}
        journal.append("epoch", trial_id="001", **{**fields, **trial})
    journal.append("end", trial_id="001", status="completed", error=None)
    journal.append("status", status="completed", reason=None)
    journal.close()


@pytest.mark.parametrize(
    ("flags", "trial", "goes_on"),
    [
        ({}, {}, True),
        ({"patience": 1}, {}, True),  # It counts anew.
        ({}, {"done": True}, False),  # The trial ended by itself,
        ({"epochs": 3}, {}, False),  # and so did this one, before its last epoch.
        ({"target": 0.3}, {}, False),
        ({}, {"checkpoint": "tune/001/removed"}, False),
        ({}, {"checkpoint": None}, True),  # As an interrupted one, from the beginning.
    ],
)
def test_a_completed_trial_goes_on_to_more_epochs(
    flags: dict[str, object], trial: dict[str, object], goes_on: bool, tmp_path: Path
) -> None:
    first = loading.load(None, {"epochs": 2, "num_samples": 1, **flags})
    completed(tmp_path / "mnist", first, **trial)
    asked = resumed_experiment(store.read(tmp_path / "mnist"), None, {"epochs": 4})
    assert not is_finished(store.read(tmp_path / "mnist"), asked)
    journal = attempt.resume(tmp_path / "mnist", asked, USED)
    expected = "interrupted" if goes_on else "completed"
    assert journal.record.trials["001"].status == expected
    assert apply_stoppers(asked, journal.record, 0.0) is None or not goes_on
    journal.close()
    result = json.loads((tmp_path / "mnist" / RESULT).read_text())
    assert result["trials"][0]["status"] == expected


def test_more_trials_take_no_completed_one_on(tmp_path: Path) -> None:
    # A function that ended by itself after two of six epochs.
    completed(tmp_path / "mnist", loading.load(None, {"num_samples": 1}))
    asked = resumed_experiment(store.read(tmp_path / "mnist"), None, {"num_samples": 2})
    journal = attempt.resume(tmp_path / "mnist", asked, USED)
    assert journal.record.trials["001"].status == "completed"
    journal.close()


def test_a_trial_that_went_on_is_not_begun_again_by_a_crash(tmp_path: Path) -> None:
    two = loading.load(None, {"epochs": 2, "num_samples": 1})
    completed(tmp_path / "mnist", two)
    # Its epochs were raised, and the process ended before any was trained.
    attempt.resume(tmp_path / "mnist", two.model_copy(update={"epochs": 3}), USED).close()
    again = resumed_experiment(store.read(tmp_path / "mnist"), None, {})
    assert again.epochs == 3
    journal = attempt.resume(tmp_path / "mnist", again, USED)
    trial = journal.record.trials["001"]
    assert (trial.status, trial.epochs, trial.saved[0][0]) == ("interrupted", 2, 2)
    journal.close()


def test_a_script_keeps_its_epochs(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("")
    flags = {"entry_point": script, "epochs": 2}
    experiment = loading.load(None, flags)
    attempt.begin(tmp_path / "run", experiment, USED).close()
    with pytest.raises(
        ExperimentError, match=r"^--resume run: a script's epochs are one of its arguments, "
    ):
        resumed_experiment(store.read(tmp_path / "run"), None, {"epochs": 3})
