"""Experiments read from files, from recorded ones, and from flags over them."""

import json
from pathlib import Path

import pytest

from app.experiment import loading
from app.experiment.errors import ExperimentError
from app.experiment.schema import Experiment, ResourceTable

OWN = """
name = "own"
trainable = "mine.py:Mine"
metric = "loss"
mode = "max"
space.x = { type = "continuous", low = 0.0, high = 1.0 }
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "experiment.toml"
    path.write_text(text)
    return path


def test_the_default_is_the_built_in_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert loading.load(None, {}) == Experiment(
        name="mnist",
        trainable="mnist",
        metric="average_test_loss",
        mode="min",
        space={
            "lr": {"type": "continuous", "low": 0.001, "high": 0.1, "scale": "log"},
            "batch_size": {"type": "categorical", "values": [32, 64, 128, 256, 512]},
        },
        fixed={"momentum": 0.5},
        num_samples=9,
        max_concurrent=3,
        epochs=6,
        seed=0,
        search="bayesian",
        resources=ResourceTable(),
        data_dir=None,
        download=False,
        folder=tmp_path,
    )


def test_a_file_that_tunes_the_built_in_trainable_says_only_what_differs(tmp_path: Path) -> None:
    loaded = loading.load(written(tmp_path, 'name = "short"\nepochs = 2'), {})
    assert (loaded.name, loaded.epochs, loaded.metric) == ("short", 2, "average_test_loss")
    assert list(loaded.space) == ["lr", "batch_size"]
    assert loaded.fixed == {"momentum": 0.5}
    assert loaded.folder == tmp_path


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path) -> None:
    path = written(tmp_path, "\ufeffepochs = 2")
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    assert loading.load(path, {}).epochs == 2


def test_a_space_takes_the_place_of_the_built_in_one_and_of_what_was_fixed(tmp_path: Path) -> None:
    text = "space.momentum = { type = 'continuous', low = 0.0, high = 0.9 }\nfixed.lr = 0.01"
    loaded = loading.load(written(tmp_path, text), {})
    assert list(loaded.space) == ["momentum"]
    assert loaded.fixed == {"lr": 0.01}


def test_a_trainable_of_ones_own_gets_nothing_of_the_built_in_one(tmp_path: Path) -> None:
    loaded = loading.load(written(tmp_path, OWN), {})
    assert loaded.fixed == {}
    assert list(loaded.space) == ["x"]
    assert (loaded.metric, loaded.mode, loaded.num_samples) == ("loss", "max", 9)


@pytest.mark.parametrize("key", ["name", "metric", "mode", "space"])
def test_a_trainable_of_ones_own_needs_every_key_of_its_own(tmp_path: Path, key: str) -> None:
    text = "\n".join(line for line in OWN.splitlines() if not line.startswith(key))
    path = written(tmp_path, text)
    message = f"^{path}: {key}: is missing; an experiment file needs it$"
    with pytest.raises(ExperimentError, match=message):
        loading.load(path, {})


def test_flags_override_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "epochs = 2\nseed = 5\n[resources]\ncpus_per_trial = 0.5")
    loaded = loading.load(path, {"epochs": 3, "cpus_per_trial": 1.0, "gpus_per_trial": 0.25})
    assert (loaded.epochs, loaded.seed) == (3, 5)
    assert (loaded.resources.cpus_per_trial, loaded.resources.gpus_per_trial) == (1.0, 0.25)
    assert loaded.resources.workers_per_trial == 1
    assert loading.load(path, {"workers_per_trial": 2}).as_json()["resources"] == {
        "cpus_per_trial": 0.5,
        "gpus_per_trial": None,
        "workers_per_trial": 2,
    }


def test_a_path_in_a_file_counts_from_the_file(tmp_path: Path) -> None:
    loaded = loading.load(written(tmp_path, 'data_dir = "../data"'), {})
    assert loaded.data_dir == tmp_path.parent / "data"


def test_a_path_in_a_flag_counts_from_where_it_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    path = written(tmp_path, 'data_dir = "there"')
    loaded = loading.load(path, {"data_dir": "digits"})
    assert loaded.data_dir == tmp_path / "here" / "digits"


def test_a_file_that_is_not_there_or_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match=r"^no experiment file at .*absent\.toml$"):
        loading.load(tmp_path / "absent.toml", {})
    with pytest.raises(ExperimentError, match=r"^cannot read .*: Is a directory$"):
        loading.load(tmp_path, {})


@pytest.mark.parametrize("content", [b"epochs = ", b"epochs = 1\nepochs = 2", b"name = '\xff'"])
def test_a_file_that_is_not_toml_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "experiment.toml"
    path.write_bytes(content)
    with pytest.raises(ExperimentError, match=r"experiment\.toml is not TOML: "):
        loading.load(path, {})


def test_the_placement_that_an_earlier_run_recorded_is_ignored(tmp_path: Path) -> None:
    recorded = loading.load(None, {}).as_json()
    path = tmp_path / "experiment.json"
    path.write_text(
        json.dumps({**recorded, "resources": {**recorded["resources"], "placement": "pack"}})
    )
    assert loading.load(path, {}) == loading.load(None, {})
    assert loading.split_known(json.loads(path.read_text())) == (recorded, [])


def test_a_file_that_asks_for_a_placement_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "[resources]\nplacement = 'pack'")
    with pytest.raises(ExperimentError, match="resources: unknown key 'placement'"):
        loading.load(path, {})


def test_a_file_does_not_say_where_it_lies(tmp_path: Path) -> None:
    path = written(tmp_path, "folder = '/elsewhere'")
    with pytest.raises(ExperimentError, match="folder: is where the file lies; it cannot be given"):
        loading.load(path, {})


def test_a_recorded_experiment_is_the_experiment(tmp_path: Path) -> None:
    loaded = loading.load(None, {"num_samples": 5, "search": "random", "target": 0.5})
    path = tmp_path / "experiment.json"
    path.write_text(json.dumps({**loaded.as_json(), "threads": 1}))
    assert loading.load(path, {}) == loaded
    path.write_text("[]")
    with pytest.raises(ExperimentError, match="needs an object of an experiment's keys"):
        loading.load(path, {})


def test_a_recorded_experiment_of_before_there_were_repeats_has_none(tmp_path: Path) -> None:
    recorded = loading.load(None, {}).as_json()
    del recorded["repeats"]
    path = tmp_path / "experiment.json"
    path.write_text(json.dumps(recorded))
    assert loading.load(path, {}).repeats == 1
