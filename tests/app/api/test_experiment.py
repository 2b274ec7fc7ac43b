"""Experiments from files and from Python values: one set of checks and messages."""

import copy
import pickle
import tomllib
from pathlib import Path
from typing import Any

import pytest

from app.api import Experiment, ExperimentError
from app.experiment.loading import BUILTIN, load
from tests.support import ROOT, SCRIPTS
from tests.support.experiments import write_hosts, write_quadratic

SCHEMA = load(None, {})


@pytest.mark.parametrize("write", [write_quadratic, write_hosts])
def test_values_make_what_a_file_of_them_makes(write: Any, tmp_path: Path) -> None:
    file = write(tmp_path / "mine.toml")
    made = Experiment(**tomllib.loads(file.read_text()))
    loaded = Experiment.load(file)
    assert made.model_copy(update={"folder": loaded.folder}) == loaded
    assert loaded.as_json() == load(file, {}).as_json()


def test_what_a_run_records_makes_it_again(tmp_path: Path) -> None:
    loaded = Experiment.load(write_hosts(tmp_path / "mine.toml"), epochs=3)
    assert loaded.fixed == {"epochs": 3}
    assert Experiment(**loaded.as_json()) == loaded
    whole = {**loaded.as_json(), "fixed": {}}
    assert Experiment(**whole).fixed == {}


def test_no_values_make_the_built_in_experiment() -> None:
    assert Experiment().as_json() == Experiment.load().as_json() == SCHEMA.as_json()
    assert Experiment(num_samples=20).space == tomllib.loads(BUILTIN.read_text())["space"]


def test_flags_stand_over_a_file_and_none_is_no_flag(tmp_path: Path) -> None:
    file = write_quadratic(tmp_path / "mine.toml")
    loaded = Experiment.load(
        file, num_samples=20, cpus_per_trial=1, early_stopping="asha", seed=None
    )
    assert (loaded.num_samples, loaded.resources.cpus_per_trial) == (20, 1)
    assert (loaded.early_stopping.name, loaded.seed) == ("asha", 0)


def test_a_script_and_its_data_are_named_by_paths(tmp_path: Path) -> None:
    (tmp_path / "points").touch()
    asked = Experiment.load(
        entry_point=SCRIPTS / "digits.py", inputs={"training": tmp_path / "points"}
    )
    assert asked.inputs == {"training": str(tmp_path / "points")}
    assert asked.script is not None
    assert asked.script.entry_point == SCRIPTS / "digits.py"


def test_tuples_and_relative_paths_are_taken_as_a_file_has_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT / "trainables")
    made = Experiment(
        data_dir=Path("data"), space={"lr": {"type": "categorical", "values": (0.1, 0.2)}}
    )
    assert made.data_dir == ROOT / "trainables/data"
    assert made.space["lr"]["values"] == [0.1, 0.2]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_sample": 2}, r"^unknown key 'num_sample'; did you mean 'num_samples'\?$"),
        ({"num_samples": "2"}, r"^num_samples: needs a whole number, got '2'$"),
        (
            {"space": {"lr": {"type": "continuous", "low": 0, "high": 1, "scale": "log"}}},
            "^space.lr: ",
        ),
        ({"name": "a b"}, "^name: "),
        ({"search": "grid"}, "^search = 'grid': "),
    ],
)
def test_what_is_wrong_is_said_as_of_a_file(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ExperimentError, match=message):
        Experiment(**values)


def test_an_unknown_flag_is_named_and_a_file_that_is_not_there() -> None:
    with pytest.raises(ExperimentError, match=r"^unknown flag 'epoch'; did you mean 'epochs'\?$"):
        Experiment.load(epoch=2)
    with pytest.raises(ExperimentError, match=r"^no experiment file at absent\.toml$"):
        Experiment.load("absent.toml")


def test_an_experiment_is_copied_and_pickled() -> None:
    made = Experiment(epochs=2)
    assert copy.deepcopy(made) == pickle.loads(pickle.dumps(made)) == made
    assert made.with_resources(1, 0).resources.cpus_per_trial == 1
