"""The protocol of a parameter: its values, their order, and how a sampler sees them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

Value = Any
"""A number, a string or a boolean, as a trial gets it."""


class Parameter(Protocol):
    """One kind of parameter."""

    @property
    def when(self) -> Mapping[str, list[Value]]:
        """Values of other parameters without which this one is left out."""
        ...

    def suggest(self, trial: "optuna.Trial", name: str) -> Value:
        """Let the trial's sampler choose a value."""
        ...

    def encode(self, value: Value) -> float:
        """Return the number that the sampler sees for a value."""
        ...

    def contains(self, value: Value) -> bool:
        """Tell whether a value may be chosen."""
        ...

    def at(self, fraction: float) -> Value:
        """Return the value this far into the scaled range; 0 is its low end, 0.5 the middle."""
        ...

    def fraction(self, value: Value) -> float:
        """Return how far into the scaled range a value is, 0 to 1: the inverse of `at`."""
        ...

    def position(self, value: Value) -> tuple[float, ...]:
        """Return coordinates of a value, for distances: its fraction, where there is an order.

        Values without an order have a coordinate each, so that all are equally far apart.
        """
        ...

    def distribution(self) -> "BaseDistribution":
        """Return Optuna's distribution of the values as a study shows them, not as sampled."""
        ...

    def extremes(self) -> list[Value]:
        """Return the values at the ends of the range; all values where there is no order."""
        ...

    def grid(self) -> Sequence[Value]:
        """Return all values, for grid search; raises SpaceError where they are endless."""
        ...


def equality_key(value: Value) -> tuple[bool, Value]:
    """Return a key by which True is not 1, as it is to Python; 1.0 still is."""
    return isinstance(value, bool), value


def is_number(value: Any) -> bool:
    """Tell whether a value is a number; True is none, though it is one to Python."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
