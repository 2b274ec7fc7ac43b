"""Kinds of trials: what depends on whether trials run Python code or a script."""

from pathlib import Path

import pytest

from app.experiment import loading
from app.experiment.schema import Experiment
from trainables.contract import TrainableError


def scripted(tmp_path: Path, text: str = "") -> Experiment:
    """Load an experiment that tunes a script."""
    (tmp_path / "train.py").write_text("print('loss=1')\n")
    toml = tmp_path / "script.toml"
    toml.write_text(
        f"""
trainable = "script"
metric = "loss"
mode = "min"
[space]
lr = {{ type = "continuous", low = 0.0, high = 1.0 }}
[script]
entry_point = "train.py"
[fixed]
{text}
"""
    )
    return loading.load(toml, {})


def test_trials_of_a_class_end_after_their_epochs_and_count_by_the_best() -> None:
    experiment = loading.load(None, {"epochs": 4})
    assert (experiment.kind.last_epoch, experiment.kind.expected_epochs) == (4, 4)
    assert (experiment.kind.value, experiment.kind.gives_seeds) == ("best", True)
    assert list(experiment.kind.remarks()) == []


def test_trials_of_a_script_end_by_themselves_and_count_by_the_last(tmp_path: Path) -> None:
    experiment = scripted(tmp_path)
    assert (experiment.kind.last_epoch, experiment.kind.expected_epochs) == (None, None)
    assert (experiment.kind.value, experiment.kind.gives_seeds) == ("last", False)


def test_a_script_that_is_given_epochs_and_a_seed_is_expected_to_use_them(tmp_path: Path) -> None:
    experiment = scripted(tmp_path, "epochs = 3\nseed = 1")
    assert (experiment.kind.last_epoch, experiment.kind.expected_epochs) == (None, 3)
    assert experiment.kind.gives_seeds


def test_only_the_log_of_a_script_can_be_checked(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text('{"tuneport": {"loss": 1}}\n')
    scripted(tmp_path).kind.check_log(log, print)
    with pytest.raises(TrainableError, match=r"^--check-log: is for scripts; this tunes 'mnist'$"):
        loading.load(None, {}).kind.check_log(log, print)


def test_a_run_keeps_the_code_of_a_script_alone(tmp_path: Path) -> None:
    scripted(tmp_path).kind.copy_code(tmp_path / "code")
    assert (tmp_path / "code/train.py").read_text() == "print('loss=1')\n"
    loading.load(None, {}).kind.copy_code(tmp_path / "none")
    assert not (tmp_path / "none").exists()
