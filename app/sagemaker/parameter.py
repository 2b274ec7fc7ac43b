"""Hyperparameter ranges by SageMaker's names, to and from entries of a `[space]` table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.experiment.errors import SpaceError
from trainables.errors.choices import unknown

SCALES = {"Linear": "linear", "Logarithmic": "log", "ReverseLogarithmic": "reverse-log"}
AUTO_LOG = 100
"""`Auto` searches on a log scale from this ratio of a range's ends."""


@dataclass(frozen=True)
class ContinuousParameter:
    """Real number between two ends, both included."""

    min_value: float
    max_value: float
    scaling_type: str = "Auto"

    def as_entry(self) -> dict[str, Any]:
        """Make the entry of a `[space]` table."""
        return _entry("continuous", float(self.min_value), float(self.max_value), self.scaling_type)

    def as_tuning_range(self, name: str) -> dict[str, Any]:
        """Make the range as `describe` lists it, its ends as numbers."""
        return _tuning_range(name, self.min_value, self.max_value, self.scaling_type)


@dataclass(frozen=True)
class IntegerParameter:
    """Whole number between two ends, both included."""

    min_value: int
    max_value: int
    scaling_type: str = "Auto"

    def as_entry(self) -> dict[str, Any]:
        """Make the entry of a `[space]` table."""
        return _entry("integer", self.min_value, self.max_value, self.scaling_type)

    def as_tuning_range(self, name: str) -> dict[str, Any]:
        """Make the range as `describe` lists it, its ends as numbers."""
        return _tuning_range(name, self.min_value, self.max_value, self.scaling_type)


@dataclass(frozen=True)
class CategoricalParameter:
    """One of several values, which keep their types; a single value counts as a list of one."""

    values: Any

    def as_entry(self) -> dict[str, Any]:
        """Make the entry of a `[space]` table."""
        single = isinstance(self.values, str) or not isinstance(self.values, Sequence)
        return {"type": "categorical", "values": [self.values] if single else list(self.values)}

    def as_tuning_range(self, name: str) -> dict[str, Any]:
        """Make the range as `describe` lists it, its values with their types."""
        return {"Name": name, "Values": self.as_entry()["values"]}


Range = ContinuousParameter | IntegerParameter | CategoricalParameter
Ranges = dict[str, list[dict[str, Any]]]
"""Ranges by kind, as `describe` lists them."""
KINDS: Mapping[str, type[Range]] = {
    "integer": IntegerParameter,
    "continuous": ContinuousParameter,
    "categorical": CategoricalParameter,
}


def from_entry(entry: Mapping[str, Any]) -> Range:
    """Read a range back from an entry of a `[space]` table."""
    if entry["type"] == "categorical":
        return CategoricalParameter(entry["values"])
    scaling = {ours: theirs for theirs, ours in SCALES.items()}[entry.get("scale", "linear")]
    kind = IntegerParameter if entry["type"] == "integer" else ContinuousParameter
    return kind(entry["low"], entry["high"], scaling)


def tuning_ranges(ranges: Mapping[str, Range]) -> Ranges:
    """List ranges by kind, as `describe` does."""
    return {
        f"{kind.capitalize()}ParameterRanges": [
            entry.as_tuning_range(name) for name, entry in ranges.items() if isinstance(entry, cls)
        ]
        for kind, cls in KINDS.items()
    }


def _entry(kind: str, low: float, high: float, scaling: str) -> dict[str, Any]:
    if scaling not in ("Auto", *SCALES):
        raise SpaceError(f"scaling_type: {unknown(scaling, ('Auto', *SCALES))}")
    wide = low > 0 and high >= AUTO_LOG * low
    scale = ("log" if wide else "linear") if scaling == "Auto" else SCALES[scaling]
    return {"type": kind, "low": low, "high": high, "scale": scale}


def _tuning_range(name: str, low: float, high: float, scaling: str) -> dict[str, Any]:
    return {"Name": name, "MinValue": low, "MaxValue": high, "ScalingType": scaling}
