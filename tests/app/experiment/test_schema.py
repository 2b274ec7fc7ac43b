"""Experiments: the default one, files over it, flags over files, and what is refused."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from app.engine.preparation import check_configs
from app.experiment import loading, schema
from app.experiment.early_stopping import EarlyStopping
from app.experiment.errors import ExperimentError
from app.experiment.schema import Experiment, ResourceTable
from trainables.mnist import MnistTrainable

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


def test_grid_counts_its_own_trials_unless_fewer_are_asked_for(tmp_path: Path) -> None:
    text = """
    search = "grid"
    space.lr = { type = "continuous", low = 0.1, high = 0.3, step = 0.1 }
    space.batch_size = { type = "categorical", values = [32, 64] }
    """
    path = written(tmp_path, text)
    assert loading.load(path, {}).num_samples == 6
    assert loading.load(path, {"num_samples": 4}).num_samples == 4
    assert loading.load(path, {"num_samples": 100}).num_samples == 6
    twice = loading.load(written(tmp_path, "repeats = 2" + text), {})
    assert (twice.num_samples, twice.repeats) == (12, 2)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"num_samples": 0}, r"^num_samples: needs at least 1, got 0$"),
        ({"max_concurrent": 0}, r"^max_concurrent: needs at least 1, got 0$"),
        ({"epochs": 0}, r"^epochs: needs at least 1, got 0$"),
        ({"epochs": -3}, r"^epochs: needs at least 1, got -3$"),
        ({"metric": "back"}, r"^metric: 'back' is a name that Ray Tune uses itself; "),
        ({"seed": -1}, r"^seed: needs a number from 0 to 2\^63 - 1, got -1$"),
        ({"seed": 2**63}, r"^seed: needs a number from 0 to 2\^63 - 1, got 9223372036854775808$"),
        ({"search": "best"}, r"^search: unknown 'best'; choose from bayesian, gp, tpe, random, "),
        ({"early_stopping": "soon"}, r"^early_stopping: unknown 'soon'; choose from off, "),
        ({"search": "grid"}, r"^search = 'grid': space\.lr: grid search .* needs its `step`$"),
        ({"cpus_per_trial": 0}, r"^cpus_per_trial: needs a number above 0, got 0$"),
        ({"gpus_per_trial": 1.5}, r"^gpus_per_trial: Ray assigns parts of one GPU or whole ones; "),
        ({"cpus_per_trial": -1.0}, r"^cpus_per_trial: needs a number of at least 0, got -1\.0$"),
        ({"workers_per_trial": 0}, r"^workers_per_trial: needs at least 1, got 0$"),
        ({"cpus_per_trial": math.nan}, r"^cpus_per_trial: needs a number .*, got nan$"),
        ({"gpus_per_trial": math.inf}, r"^gpus_per_trial: needs a number .*, got inf$"),
    ],
)
def test_a_bad_flag_is_one_sentence(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(ExperimentError, match=message):
        loading.load(None, flags)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", r"unknown key 'epoch'; did you mean 'epochs'\?$"),
        ("metirc = 'loss'", r"unknown key 'metirc'; did you mean 'metric'\?$"),
        ("x = 3", r"unknown key 'x'; choose from name, .*, resources, script, inputs$"),
        ("search = 'baysian'", r"search: unknown 'baysian'; did you mean 'bayesian'\?$"),
        ("epochs = 9223372036854775809", r"epochs: needs a whole number of at most 2\^63, got 92"),
        ('data_dir = "a\\u0000"', r"data_dir: a text cannot have a NUL character, got 'a\\x00'$"),
        ("", r"is empty; say what to tune in it, or leave it out to tune the built-in one$"),
        ("# name = 'mine'", r"is empty; say what to tune in it, or"),
        ("epochs = true", r"epochs: needs a whole number, got True$"),
        ("epochs = 2.0", r"epochs: needs a whole number, got 2\.0$"),
        ("epochs = '2'", r"epochs: needs a whole number, got '2'$"),
        ("repeats = 0", r"repeats: needs at least 1, got 0$"),
        ("repeats = 1.5", r"repeats: needs a whole number, got 1\.5$"),
        ("repeats = '2'", r"repeats: needs a whole number, got '2'$"),
        (
            "repeats = 3\nseed = 9223372036854775806",
            r"seed: needs a number from 0 to 2\^63 - 3, got 9223372036854775806$",
        ),
        ("metric = 3", r"metric: needs a string, got 3$"),
        ("trainable = ['a']", r"name: is missing; an experiment file needs it$"),
        ("download = 1", r"download: needs true or false, got 1$"),
        ("data_dir = 5", r"data_dir: needs a string, got 5$"),
        ("mode = 'least'", r"mode: unknown 'least'; choose from min, max$"),
        ("name = 'a/b'", r"name: 'a/b' must be letters, digits, dots, dashes and underscores"),
        ("name = ''", r"name: '' must be letters"),
        ("space = 3", r"space: needs a table, got 3$"),
        ("fixed = 3", r"fixed: needs a table, got 3$"),
        ("resources = 'all'", r"resources: needs a table, got 'all'$"),
        ("resources.cpus = 1", r"resources: unknown key 'cpus'; did you mean 'cpus_per_trial'\?$"),
        ("resources.cpus_per_trial = true", r"cpus_per_trial: needs a number .*, got True$"),
        (
            "resources.workers_per_trial = 1.5",
            r"workers_per_trial: needs a whole number, got 1\.5$",
        ),
        ("resources.cpus_per_trial = 'all'", r"cpus_per_trial: needs a number .*, got 'all'$"),
        ("fixed.lr = 0.1", r"fixed\.lr: is searched in \[space\] as well; keep one of them$"),
        ("fixed.seed = 1", r"fixed\.seed: is a reserved name; choose another$"),
        ("fixed.since = 2020-01-01", r"fixed: needs numbers, strings, booleans or lists: "),
        ("fixed.momentum = nan", r"fixed: needs numbers, strings, booleans or lists: "),
        (
            "space.seed = { type = 'integer', low = 0, high = 9 }",
            r"space\.seed: is a reserved name; choose another$",
        ),
        (
            "space.lr = { type = 'continuous', low = 0.1, high = 0.001 }",
            r"space\.lr: needs low <= high, got \[0\.1, 0\.001\]$",
        ),
        (
            "space.lr = { type = 'continuous', low = nan, high = 1 }",
            r"space\.lr\.low: needs a finite number, got nan$",
        ),
    ],
)
def test_a_bad_value_in_a_file_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ExperimentError, match=f"^{path}: {message}"):
        loading.load(path, {})


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("space.batch_size = { type = 'integer', low = 0, high = 9 }", r"batch_size: .* got 0$"),
        ("space.batch_size = { type = 'categorical', values = [64, 0] }", r"batch_size: .* got 0$"),
        ("space.lr = { type = 'continuous', low = 0, high = 1 }", r"lr: .* above 0, got 0\.0$"),
        ("space.lr = { type = 'categorical', values = ['a'] }", r"lr: .* above 0, got 'a'$"),
        ("fixed.momentum = 2", r"momentum: .* below 1, got 2$"),
    ],
)
def test_the_trainable_refuses_a_value_before_anything_starts(
    tmp_path: Path, text: str, message: str
) -> None:
    entries = {
        "space.lr": "{ type = 'continuous', low = 0.1, high = 1 }",
        "space.batch_size": "{ type = 'categorical', values = [64] }",
    }
    key, _, value = text.partition(" = ")
    entries[key] = value
    lines = "\n".join(f"{key} = {value}" for key, value in entries.items())
    loaded = loading.load(written(tmp_path, lines), {})
    table = key.partition(".")[0]
    with pytest.raises(ExperimentError, match=rf"^{table}\.{message}"):
        check_configs(loaded, MnistTrainable)


def test_a_parameter_that_the_trainable_needs_is_asked_for(tmp_path: Path) -> None:
    text = "space.lr = { type = 'continuous', low = 0.1, high = 1 }"
    message = "^space: mnist needs a parameter 'batch_size'; search it in "
    loaded = loading.load(written(tmp_path, text), {})
    with pytest.raises(ExperimentError, match=message):
        check_configs(loaded, MnistTrainable)


def test_the_default_experiment_is_one_that_its_trainable_takes() -> None:
    check_configs(loading.load(None, {}), MnistTrainable)


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"epochs": 1, "search": "random", "gpus_per_trial": 0.5},
        {"data_dir": "digits", "download": True},
    ],
)
def test_what_is_kept_as_json_reads_back_the_same(flags: dict[str, Any]) -> None:
    loaded = loading.load(None, flags)
    kept = json.loads(json.dumps(loaded.as_json()))
    assert schema.from_table(kept) == loaded


def test_the_placement_that_an_earlier_run_recorded_is_ignored(tmp_path: Path) -> None:
    recorded = loading.load(None, {}).as_json()
    path = tmp_path / "experiment.json"
    path.write_text(
        json.dumps({**recorded, "resources": {**recorded["resources"], "placement": "pack"}})
    )
    assert loading.load(path, {}) == loading.load(None, {})


def test_a_file_that_asks_for_a_placement_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "[resources]\nplacement = 'pack'")
    with pytest.raises(ExperimentError, match="resources: unknown key 'placement'"):
        loading.load(path, {})


def test_a_file_does_not_say_where_it_lies(tmp_path: Path) -> None:
    path = written(tmp_path, "folder = '/elsewhere'")
    with pytest.raises(ExperimentError, match="folder: is where the file lies; it cannot be given"):
        loading.load(path, {})


@pytest.mark.parametrize(
    ("typed", "ours"),
    [
        ("Bayesian", "bayesian"),
        ("Random", "random"),
        ("Hyperband", "hyperband"),
        ("asha", "hyperband"),
    ],
)
def test_sagemakers_names_of_searches_are_known(typed: str, ours: str) -> None:
    assert loading.load(None, {"search": typed}).search == ours


def test_hyperband_brings_its_own_early_stopping() -> None:
    assert loading.load(None, {"search": "hyperband"}).early_stopping.name == "asha"
    message = "^early_stopping: hyperband search stops by asha itself; leave 'median' out$"
    with pytest.raises(ExperimentError, match=message):
        loading.load(None, {"search": "hyperband", "early_stopping": "median"})


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"time_budget": 0.0}, "time_budget: needs a number above 0, got 0.0"),
        ({"target": math.nan}, "target: needs a finite number, got nan"),
        ({"patience": 0}, "patience: needs at least 1, got 0"),
        ({"retries": -1}, "retries: needs at least 0, got -1"),
        ({"target": True}, "target: needs a number, got True"),
    ],
)
def test_a_budget_that_cannot_be_is_a_mistake(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(ExperimentError, match=f"^{re.escape(message)}$"):
        loading.load(None, flags)


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fixed.seed = '7'", r"fixed\.seed: needs a whole number, from which repeats .*, got '7'$"),
        (
            "fixed.seed = true",
            r"fixed\.seed: needs a whole number, from which repeats .*, got True",
        ),
        (
            "space.seed = { type = 'integer', low = 0, high = 9 }",
            r"repeats: gives each trial a seed of its own, which is searched in \[space\] as",
        ),
    ],
)
def test_repeats_of_a_script_need_a_seed_that_counts(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "train.py").touch()
    lr = "space.lr = { type = 'continuous', low = 0.1, high = 1 }"
    script = f"{lr}\nscript.entry_point = 'train.py'"
    assert loading.load(written(tmp_path, f"{script}\n{text}"), {}).repeats == 1
    path = written(tmp_path, f"repeats = 2\n{script}\n{text}")
    with pytest.raises(ExperimentError, match=f"^{path}: {message}"):
        loading.load(path, {})


def test_early_stopping_is_a_name_or_a_table(tmp_path: Path) -> None:
    inline = 'early_stopping = { name = "asha", grace = 2, keep = 0.5 }'
    table = '[early_stopping]\nname = "asha"\ngrace = 2\nkeep = 0.5'
    for text in (inline, table):
        loaded = loading.load(written(tmp_path, text), {})
        assert loaded.early_stopping == EarlyStopping("asha", {"grace": 2, "keep": 0.5})
    recorded = tmp_path / "experiment.json"
    recorded.write_text(json.dumps(loaded.as_json()))
    assert loading.load(recorded, {}) == loaded
    named = loading.load(written(tmp_path, 'early_stopping = "asha"'), {})
    assert named.as_json()["early_stopping"] == "asha"


@pytest.mark.parametrize(
    ("flag", "settings"),
    [("asha", {"grace": 2, "keep": 0.5}), ("median", {"grace": 2}), ("off", {})],
)
def test_a_flag_names_the_rule_and_keeps_the_settings_that_it_has(
    tmp_path: Path, flag: str, settings: dict[str, Any]
) -> None:
    text = 'early_stopping = { name = "asha", grace = 2, keep = 0.5 }'
    loaded = loading.load(written(tmp_path, text), {"early_stopping": flag})
    assert loaded.early_stopping == EarlyStopping(flag, settings)


def test_hyperband_takes_settings_of_its_rule(tmp_path: Path) -> None:
    text = 'search = "hyperband"\nearly_stopping = { grace = 1 }'
    loaded = loading.load(written(tmp_path, text), {})
    assert loaded.early_stopping == EarlyStopping("asha", {"grace": 1})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('{ name = "soon" }', "unknown 'soon'; choose from off, median, asha"),
        ("{ grace = 1 }", ".name: is missing; choose from off, median, asha"),
        ("3", "needs a name or a table, got 3"),
        (
            '{ name = "asha", patience = 2 }',
            "unknown setting of asha 'patience'; choo",
        ),
        ('{ name = "off", grace = 2 }', ".grace: is no setting of 'off'; it has none"),
        ('{ name = "asha", grace = -1 }', ".grace: needs a whole number of epochs, 0 or more, got"),
        ('{ name = "asha", grace = true }', ".grace: needs a whole number of epochs, 0 or more, g"),
        ('{ name = "asha", grace = 6 }', ".grace: needs fewer epochs than a trial has, 6; got 6,"),
        ('{ name = "asha", keep = 1 }', ".keep: needs a number between 0 and 1, as 0.33, got 1"),
        (
            '{ name = "median", keep = 0.5 }',
            "unknown setting of median 'keep'; choos",
        ),
        ('{ name = "median", min_samples = 0 }', ".min_samples: needs a whole number of trials"),
    ],
)
def test_a_setting_of_early_stopping_that_cannot_be_is_a_mistake(
    tmp_path: Path, table: str, message: str
) -> None:
    path = written(tmp_path, f"early_stopping = {table}")
    with pytest.raises(ExperimentError, match=f"early_stopping:? ?{re.escape(message)}"):
        loading.load(path, {})
