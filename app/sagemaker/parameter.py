"""Ranges of hyperparameters by SageMaker's names, as entries of a `[space]` table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.parameters import SpaceError

SCALES = {"Linear": "linear", "Logarithmic": "log", "ReverseLogarithmic": "reverse-log"}
AUTO_LOG = 100
"""How many times its low end the high end of a range is that `Auto` searches on a log scale."""


@dataclass(frozen=True)
class ContinuousParameter:
    """A real number between two ends, both included."""

    min_value: float
    max_value: float
    scaling_type: str = "Auto"

    def as_entry(self) -> dict[str, Any]:
        """As a `[space]` table has it."""
        return _range("continuous", float(self.min_value), float(self.max_value), self.scaling_type)


@dataclass(frozen=True)
class IntegerParameter:
    """A whole number between two ends, both included."""

    min_value: int
    max_value: int
    scaling_type: str = "Auto"

    def as_entry(self) -> dict[str, Any]:
        """As a `[space]` table has it."""
        return _range("integer", self.min_value, self.max_value, self.scaling_type)


@dataclass(frozen=True)
class CategoricalParameter:
    """One of several values, which keep their types; a single one is a list of one."""

    values: Sequence[Any]

    def as_entry(self) -> dict[str, Any]:
        """As a `[space]` table has it."""
        alone = isinstance(self.values, str) or not isinstance(self.values, Sequence)
        return {"type": "categorical", "values": [self.values] if alone else list(self.values)}


Range = ContinuousParameter | IntegerParameter | CategoricalParameter


def _range(kind: str, low: float, high: float, scaling: str) -> dict[str, Any]:
    if scaling not in ("Auto", *SCALES):
        raise SpaceError(
            f"scaling_type: unknown {scaling!r}; choose from {', '.join(('Auto', *SCALES))}"
        )
    wide = low > 0 and high >= AUTO_LOG * low
    scale = ("log" if wide else "linear") if scaling == "Auto" else SCALES[scaling]
    return {"type": kind, "low": low, "high": high, "scale": scale}
