"""Validation of JSON tables in a run's files, with defaults for keys of newer versions."""

from collections.abc import Callable, Mapping
from datetime import datetime
from types import NoneType, UnionType
from typing import Any

NEEDED: Any = ...

Kind = type | UnionType | Callable[[Any], bool]
"""A type, or a function that tells whether a value is of the kind."""
Fields = Mapping[str, tuple[Kind, Any]]
"""By key, the kind of its value and the default; NEEDED for none."""
TEXT = str | None
TYPES = (type, UnionType)
# JSON has no other types. Sets of types are compared at once, as thousands of runs may be read.
NUMBERS = frozenset({int, float, bool, NoneType})
VALUES = NUMBERS | {str}


def validate(name: str, table: Any, fields: Fields) -> dict[str, Any]:
    """Check a table and add defaults; raises ValueError for a missing key or a wrong value.

    `name` names the table in the error. Keys that are not in `fields` stay.
    """
    if not isinstance(table, dict):
        raise ValueError(f"{name} needs a table, got {table!r:.60}")
    filled = dict(table)
    for key, (kind, default) in fields.items():
        value = filled.setdefault(key, default)
        if value is NEEDED:
            raise ValueError(f"{name} needs `{key}`")
        if not _is_of(value, kind):
            raise ValueError(f"{name}.{key} cannot be {value!r:.60}")
    return filled


def _is_of(value: Any, kind: Kind) -> bool:
    return isinstance(value, kind) if isinstance(kind, TYPES) else kind(value)


def is_number(value: Any) -> bool:
    """Whether a value is a finite number and not a bool."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e308


def is_time(value: Any) -> bool:
    """Whether a value is None, or a time as text in the form of ISO 8601."""
    try:
        return value is None or bool(datetime.fromisoformat(value))
    except (TypeError, ValueError):
        return False


def is_count(value: Any) -> bool:
    """Whether a value is an integer from 0."""
    return type(value) is int and value >= 0


def is_trial(value: Any) -> bool:
    """Whether a value is a trial's ID: digits."""
    return isinstance(value, str) and value.isascii() and value.isdigit()


def is_metrics(value: Any) -> bool:
    """Whether a value is a table of numbers, some of them None."""
    return isinstance(value, dict) and NUMBERS.issuperset(map(type, value.values()))


def is_history(value: Any) -> bool:
    """Whether a value is a list of epochs with their metrics."""
    if not isinstance(value, list):
        return False
    for epoch in value:
        if not is_metrics(epoch) or type(epoch.get("epoch")) is not int or epoch["epoch"] < 0:
            return False
    return True


def is_config(value: Any) -> bool:
    """Whether a value is a configuration: numbers, texts and bools by name."""
    return isinstance(value, dict) and VALUES.issuperset(map(type, value.values()))


def is_model_of(value: Any) -> bool:
    """Whether a value names a trial and an epoch, which may be None, or is None itself."""
    if value is None:
        return True
    if not isinstance(value, dict) or "epoch" not in value:
        return False
    epoch = value["epoch"]
    return (epoch is None or is_count(epoch)) and is_trial(value.get("trial_id"))


def is_lost_nodes(value: Any) -> bool:
    """Whether a value has lists of trials' IDs by node."""
    return isinstance(value, dict) and all(
        isinstance(trials, list) and all(map(is_trial, trials)) for trials in value.values()
    )


def are_evaluated(value: Any) -> bool:
    """Whether a value is a list of configurations with their objective values."""
    return isinstance(value, list) and all(
        isinstance(item, dict) and is_config(item.get("config")) and is_number(item.get("value"))
        for item in value
    )


def are_configs(value: Any) -> bool:
    """Whether a value is a list of configurations."""
    return isinstance(value, list) and all(map(is_config, value))
