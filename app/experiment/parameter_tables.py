"""Read parameters from the entries of a `[space]` table, and describe these for editors."""

import math
import sys
from collections.abc import Callable, Mapping
from typing import Any

from app.experiment.distributions import (
    MAX_EXACT,
    Categorical,
    Continuous,
    Integer,
    last_step,
)
from app.experiment.errors import SpaceError
from app.experiment.parameter import Parameter, Value, equality_key, is_number
from trainables.errors.choices import is_one, unknown


def read_parameter(name: str, entry: Any) -> Parameter:
    """Read an entry of a `[space]` table; raises SpaceError."""
    where = f"space.{name}"
    if not isinstance(entry, Mapping):
        raise SpaceError(f"{where}: needs a table such as {{ type = 'integer', … }}, got {entry!r}")
    kind = _kind(where, entry)
    rest = {key: value for key, value in entry.items() if key != "type"}
    when = rest.pop("when", {})
    if not isinstance(when, Mapping):
        raise SpaceError(f"{where}.when: needs a table such as {{ layers = [2, 3] }}, got {when!r}")
    listed = {on: values if isinstance(values, list) else [values] for on, values in when.items()}
    return KINDS[kind](where, rest, listed)


def _kind(where: str, entry: Mapping[str, Any]) -> str:
    if "type" not in entry:
        _check_known(where, entry, ENTRY_KEYS)
        raise SpaceError(f"{where}: needs `type`; choose from {', '.join(KINDS)}")
    if not is_one(entry["type"], KINDS):
        raise SpaceError(f"{where}.type: {unknown(entry['type'], KINDS)}")
    return str(entry["type"])


def _continuous(where: str, entry: dict[str, Any], when: Mapping[str, list[Value]]) -> Continuous:
    _check_keys(where, entry, needed=("low", "high"), allowed=("scale", "step"))
    low, high = (float(_number(where, key, entry[key])) for key in ("low", "high"))
    if not math.isfinite(high - low):
        raise SpaceError(f"{where}: the range [{low}, {high}] is wider than a float can tell")
    scale = _scale(where, entry, low, high, SCALES)
    step = entry.get("step")
    if step is not None:
        step = float(_number(where, "step", step))
        if step <= 0 or scale != "linear":
            raise SpaceError(f"{where}.step: needs a number above 0 and a linear scale, got {step}")
        if (high - low) / step > MAX_EXACT:
            raise SpaceError(f"{where}.step: {step} is too small for [{low}, {high}]")
        high = last_step(low, high, step)
    return Continuous(low, high, scale, step, when)


def _integer(where: str, entry: dict[str, Any], when: Mapping[str, list[Value]]) -> Integer:
    _check_keys(where, entry, needed=("low", "high"), allowed=("scale", "step"))
    for key in ("low", "high", "step"):
        value = entry.get(key, 1)
        if not isinstance(value, int) or isinstance(value, bool):
            raise SpaceError(f"{where}.{key}: needs a whole number, got {value!r}")
        if abs(value) > MAX_EXACT:
            raise SpaceError(f"{where}.{key}: needs a whole number of at most 2^53, got {value}")
    low, high, step = entry["low"], entry["high"], entry.get("step", 1)
    scale = _scale(where, entry, low, high, SCALES_OF_INTEGERS)
    if step < 1 or (step > 1 and scale == "log"):
        raise SpaceError(f"{where}.step: needs at least 1, and 1 on a log scale, got {step}")
    return Integer(low, high - (high - low) % step, scale, step, when)


def _categorical(where: str, entry: dict[str, Any], when: Mapping[str, list[Value]]) -> Categorical:
    _check_keys(where, entry, needed=("values",), allowed=())
    values = entry["values"]
    if not isinstance(values, list) or not values:
        raise SpaceError(f"{where}.values: needs a list of at least one value, got {values!r}")
    for value in values:
        if not isinstance(value, (str, int, float, bool)):
            raise SpaceError(f"{where}.values: needs numbers, strings or booleans, got {value!r}")
        if isinstance(value, float) and not math.isfinite(value):
            raise SpaceError(f"{where}.values: needs finite numbers, got {value}")
    if len(set(map(equality_key, values))) < len(values):
        raise SpaceError(f"{where}.values: names a value twice: {values}")
    return Categorical(tuple(values), when)


KINDS: Mapping[str, Callable[[str, dict[str, Any], Mapping[str, list[Value]]], Parameter]] = {
    "continuous": _continuous,
    "integer": _integer,
    "categorical": _categorical,
}
SCALES = ("linear", "log", "reverse-log")
SCALES_OF_INTEGERS = SCALES[:2]
ENTRY_KEYS = ("type", "low", "high", "scale", "step", "values", "when")
"""Keys that parameters of all kinds have."""


def _check_keys(
    where: str, entry: Mapping[str, Any], *, needed: tuple[str, ...], allowed: tuple[str, ...]
) -> None:
    _check_known(where, entry, ("type", *needed, *allowed, "when"))
    for key in needed:
        if key not in entry:
            raise SpaceError(f"{where}: needs `{key}`")


def _check_known(where: str, entry: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in entry:
        if key not in known:
            raise SpaceError(f"{where}: {unknown(key, known, 'key')}")


def _number(where: str, key: str, value: Any) -> float:
    if not is_number(value) or not abs(value) <= sys.float_info.max:
        raise SpaceError(f"{where}.{key}: needs a finite number, got {value!r}")
    return float(value)


def _scale(
    where: str, entry: Mapping[str, Any], low: float, high: float, scales: tuple[str, ...]
) -> str:
    scale = entry.get("scale", "linear")
    if not is_one(scale, scales):
        raise SpaceError(f"{where}.scale: {unknown(scale, scales)}")
    if low > high:
        raise SpaceError(f"{where}: needs low <= high, got [{low}, {high}]")
    if scale == "log" and low <= 0:
        raise SpaceError(f"{where}: a log scale needs low > 0, got [{low}, {high}]")
    if scale == "reverse-log" and not 0 <= low <= high < 1:
        raise SpaceError(
            f"{where}: a reverse-log scale needs 0 <= low and high < 1, got [{low}, {high}]"
        )
    return str(scale)


def _json_schema(
    kind: str, needed: Mapping[str, Any], allowed: Mapping[str, Any]
) -> dict[str, Any]:
    """Describe the entries of one kind."""
    return {
        "type": "object",
        "properties": {"type": {"const": kind}, **needed, **allowed, "when": WHEN},
        "required": ["type", *needed],
        "additionalProperties": False,
    }


VALUES = {"type": "array", "minItems": 1, "items": {"type": ["string", "number", "boolean"]}}
WHEN = {
    "type": "object",
    "description": "Values of other parameters without which this one is left out.",
    "additionalProperties": {"anyOf": [VALUES, VALUES["items"]]},
}
JSON_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": {
        "anyOf": [
            _json_schema(
                "continuous",
                {"low": {"type": "number"}, "high": {"type": "number"}},
                {
                    "scale": {"enum": list(SCALES)},
                    "step": {"type": "number", "exclusiveMinimum": 0},
                },
            ),
            _json_schema(
                "integer",
                {"low": {"type": "integer"}, "high": {"type": "integer"}},
                {
                    "scale": {"enum": list(SCALES_OF_INTEGERS)},
                    "step": {"type": "integer", "minimum": 1},
                },
            ),
            _json_schema("categorical", {"values": VALUES}, {}),
        ]
    },
}
"""A `[space]` table; a test holds that its kinds are those above."""
