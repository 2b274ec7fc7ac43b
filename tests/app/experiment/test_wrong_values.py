"""A value of every wrong type, under every key that an experiment's files have, is one sentence."""

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from app.experiment import loading, schema
from app.experiment.errors import ExperimentError
from app.experiment.schema import Experiment, ResourceTable

SCRIPT: Mapping[str, Any] = {
    "name": "own",
    "trainable": "script",
    "metric": "loss",
    "mode": "min",
    "space": {
        "lr": {"type": "continuous", "low": 0.1, "high": 0.3, "scale": "linear", "step": 0.1},
        "layers": {"type": "integer", "low": 1, "high": 4, "scale": "linear", "step": 1},
        "kind": {"type": "categorical", "values": ["a", "b"], "when": {"layers": [1]}},
    },
    "fixed": {"momentum": 0.5},
    "resources": {"cpus_per_trial": 1},
    "script": {
        "entry_point": "train.py",
        "value": "last",
        "metrics": [{"name": "loss", "regex": "loss=(.*)"}],
        "arguments": {"kind": "value"},
    },
    "inputs": {"training": "data"},
}
"""An experiment with something under nearly every key."""
WRONG: tuple[Any, ...] = ({"a": 1}, [["a"]], [1], [], {}, date(2026, 1, 1), 10**400, "", "\0", True)
TYPED: Mapping[type, tuple[Any, ...]] = {
    str: (*WRONG[:7], True, 1.5),
    int: (*WRONG, 1.5, "3"),
    float: (*WRONG, "3", float("nan")),
    bool: (*WRONG[:-1], 1, 0.0),
    list: (*(value for value in WRONG if value != []), ["nothing"], "mlflow"),
}
"""Values that no key of a type has."""
TABLES = ("space", "fixed", "resources", "script", "inputs")
TOP: Mapping[str, type] = {
    **dict.fromkeys([key for key in Experiment.model_fields if key not in TABLES], str),
    **dict.fromkeys(("num_samples", "max_concurrent", "epochs", "seed", "repeats"), int),
    **dict.fromkeys(("patience", "retries"), int),
    **dict.fromkeys(("time_budget", "target", "convergence", "step_timeout"), float),
    "download": bool,
    "log_to": list,
}
"""Keys at the top of a file, and the type of each."""
BOUNDED = ("num_samples", "max_concurrent", "epochs", "seed", "repeats", "patience", "retries")
ABOVE_ZERO = ("time_budget", "convergence", "step_timeout")
CHOSEN = ("mode", "search", "early_stopping")
OF_A_PARAMETER = ("type", "low", "high", "scale", "step")


def with_value(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """The experiment with a value at a place within it."""
    table: dict[str, Any] = dict(SCRIPT)
    inner = table
    for name in path[:-1]:
        inner[name] = dict(inner.get(name, {}))
        inner = inner[name]
    inner[path[-1]] = value
    return table


def cases() -> list[tuple[tuple[str, ...], Any]]:
    """Places in the experiment, each with a value that cannot stand there."""
    top = [((key,), value) for key, kind in TOP.items() for value in TYPED[kind]]
    whole = [((key,), value) for key in TABLES for value in ([], [1], "x", 3, True)]
    chosen = [((key,), value) for key in CHOSEN for value in ("", "\0", "nothing")]
    least = [((key,), -5) for key in (*BOUNDED, *ABOVE_ZERO)]
    resources = [
        (("resources", key), value) for key in ResourceTable.model_fields for value in (*WRONG, -1)
    ]
    ranges = [
        (("space", name, key), value)
        for name in ("lr", "layers")
        for key in OF_A_PARAMETER
        for value in (*WRONG, None if key == "type" else "x", float("inf"))
    ]
    values = [
        (("space", "kind", "values"), value)
        for value in (*WRONG, [{}], ["a", "a"], ["\0"], [date(2026, 1, 1)])
        if value != [1]
    ]
    conditions = [
        (("space", "kind", "when"), {"layers": value})
        for value in (*WRONG, "x", 1.0)
        if value != [1]
    ]
    entries = [(("space", "lr"), value) for value in (*WRONG, 0.1)]
    script = [
        (("script", key), value)
        for key in ("entry_point", "source_dir", "value", "metrics")
        for value in WRONG
        if not (key == "metrics" and value == [])
    ]
    styles = [(("script", "arguments", "kind"), value) for value in (*WRONG, "x")]
    metrics = [
        (("script", "metrics"), [{"name": "loss", "regex": "(.)", key: value}])
        for key in ("name", "regex")
        for value in (*WRONG[:-3], 3)
    ]
    inputs = [(("inputs", "training"), value) for value in (*WRONG[:-2], True)]
    return [
        *(*top, *whole, *chosen, *least, *resources, *ranges, *values, *conditions, *entries),
        *(*script, *styles, *metrics, *inputs),
    ]


CASES = cases()


@pytest.mark.parametrize("path", dict.fromkeys(path for path, _ in CASES), ids=".".join)
def test_a_value_that_cannot_stand_there_is_named(path: tuple[str, ...]) -> None:
    for value in (value for place, value in CASES if place == path):
        table = with_value(path, value)
        with pytest.raises(ExperimentError) as refused:
            schema.from_table(table)
        sentence = str(refused.value)
        assert path[-1] in sentence, value
        assert "\n" not in sentence, value


@pytest.mark.parametrize("key", sorted({*TOP, *SCRIPT}))
def test_a_file_with_it_is_read_or_refused_in_a_sentence(tmp_path: Path, key: str) -> None:
    path = tmp_path / "experiment.json"
    for value in (None, *WRONG):
        text = json.dumps(with_value((key,), value), default=str)
        path.write_text(text.replace("train.py", str(__file__)))
        with suppress(ExperimentError):
            loading.load(path, {})


@pytest.mark.parametrize("key", SCRIPT["script"])
def test_so_is_a_file_that_says_little_but_of_its_script(tmp_path: Path, key: str) -> None:
    path = tmp_path / "experiment.json"
    for value in WRONG:
        path.write_text(json.dumps({"script": {key: value}}, default=str))
        with suppress(ExperimentError):
            loading.load(path, {"entry_point": __file__})


def test_an_unknown_key_is_refused_though_it_is_null() -> None:
    with pytest.raises(ExperimentError, match=r"^unknown key 'epoch'; did you mean 'epochs'\?$"):
        schema.from_table({**SCRIPT, "epoch": None})


def test_a_misspelt_key_is_told_before_the_one_that_is_missing() -> None:
    table = {"metirc" if key == "metric" else key: value for key, value in SCRIPT.items()}
    with pytest.raises(ExperimentError, match=r"^unknown key 'metirc'; did you mean 'metric'\?$"):
        schema.from_table(table)
