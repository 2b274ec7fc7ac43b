"""Tables of JSON that a run keeps: what each must hold, and what is left out filled in."""

from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Any

NEEDED: Any = ...

Kind = type | UnionType | Callable[[Any], bool]
"""A type, or what says whether a value is of the kind."""
Fields = Mapping[str, tuple[Kind, Any]]
"""What a table holds: each key's kind, and what it is where it is left out."""
TEXT = str | None
TYPES = (type, UnionType)
# JSON gives these types and no others, and sets of them are compared at once: there may be
# thousands of runs to be read.
NUMBERS = frozenset({int, float, bool, NoneType})
VALUES = NUMBERS | {str}


def whole(where: str, table: Any, fields: Fields) -> dict[str, Any]:
    """The table with what is left out; ValueError for what is missing or of a wrong kind."""
    if not isinstance(table, dict):
        raise ValueError(f"{where} needs a table, got {table!r:.60}")
    filled = dict(table)
    for key, (kind, default) in fields.items():
        value = filled.setdefault(key, default)
        if value is NEEDED:
            raise ValueError(f"{where} needs `{key}`")
        if not _is_of(value, kind):
            raise ValueError(f"{where}.{key} cannot be {value!r:.60}")
    return filled


def _is_of(value: Any, kind: Kind) -> bool:
    return isinstance(value, kind) if isinstance(kind, TYPES) else kind(value)


def is_number(value: Any) -> bool:
    """Whether that is a number, and neither a bool nor infinite nor none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e308


def is_count(value: Any) -> bool:
    """Whether that counts something."""
    return type(value) is int and value >= 0


def is_trial(value: Any) -> bool:
    """Whether that is a trial's number, as text."""
    return isinstance(value, str) and value.isascii() and value.isdigit()


def is_metrics(value: Any) -> bool:
    """Whether that is a table of numbers, of which some may be missing."""
    return isinstance(value, dict) and NUMBERS.issuperset(map(type, value.values()))


def is_history(value: Any) -> bool:
    """Whether those are a trial's epochs, each with its metrics."""
    if not isinstance(value, list):
        return False
    for epoch in value:
        if not is_metrics(epoch) or type(epoch.get("epoch")) is not int or epoch["epoch"] < 0:
            return False
    return True


def is_config(value: Any) -> bool:
    """Whether that is a configuration: values by name."""
    return isinstance(value, dict) and VALUES.issuperset(map(type, value.values()))


def is_model_of(value: Any) -> bool:
    """Whether that names the trial and the epoch of a model, where these are known."""
    if value is None:
        return True
    if not isinstance(value, dict) or "epoch" not in value:
        return False
    epoch = value["epoch"]
    return (epoch is None or is_count(epoch)) and is_trial(value.get("trial_id"))


def is_lost_nodes(value: Any) -> bool:
    """Whether those are the trials that went on elsewhere, by the nodes they were lost with."""
    return isinstance(value, dict) and all(
        isinstance(trials, list) and all(map(is_trial, trials)) for trials in value.values()
    )


def are_evaluated(value: Any) -> bool:
    """Whether those are configurations with the values that earlier runs found."""
    return isinstance(value, list) and all(
        isinstance(each, dict) and is_config(each.get("config")) and is_number(each.get("value"))
        for each in value
    )


def are_configs(value: Any) -> bool:
    """Whether those are configurations."""
    return isinstance(value, list) and all(map(is_config, value))
