"""Values that an experiment can have, and the sentence for those that it cannot."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from app.experiment import loading, schema
from app.experiment.errors import ExperimentError


def written(folder: Path, text: str) -> Path:
    path = folder / "experiment.toml"
    path.write_text(text)
    return path


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
