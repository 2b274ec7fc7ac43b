"""Kinds of parameter: continuous, integer and categorical.

A numeric categorical is sampled as the index of its ordered values, so that a model of the
objective can use the order of 32, 64, 128; the trial gets the value itself.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from app.experiment.errors import SpaceError
from app.experiment.parameter import Value, equality_key, is_number

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

MAX_STEPS = 10_000
"""Steps of a range that a sampler sees as they are; the memory of some grows with their number."""
MAX_COMBINATIONS = 1_000_000
"""Configurations that grid search may have; more would take all the memory to list."""
UNORDERED_DISTANCE = 0.5
"""Coordinate of a value without an order along its own axis, where a whole range has length 1."""
MAX_EXACT = 2**53
"""The greatest whole number up to which a float represents every one."""


@dataclass(frozen=True)
class Continuous:
    """A real number from `low` to `high`, both included."""

    low: float
    high: float
    scale: str = "linear"
    step: float | None = None
    when: Mapping[str, list[Value]] = field(default_factory=dict)

    def suggest(self, trial: "optuna.Trial", name: str) -> float:
        """Let the trial's sampler choose; reverse-log is a log scale of 1 - value."""
        if self.scale == "reverse-log":
            raw = trial.suggest_float(name, 1 - self.high, 1 - self.low, log=True)
            return min(max(1 - raw, self.low), self.high)
        if self.step:
            step = self.step if self._steps <= MAX_STEPS else None
            # Optuna's third step of 0.1 is 0.30000000000000004.
            return self._on_step(trial.suggest_float(name, self.low, self.high, step=step))
        return trial.suggest_float(name, self.low, self.high, log=self.scale == "log")

    @property
    def _steps(self) -> int:
        low, high, step = (Decimal(str(value)) for value in (self.low, self.high, self.step))
        return int((high - low) / step)

    def _on_step(self, value: float) -> float:
        """Return the step nearest to a value."""
        low, step = Decimal(str(self.low)), Decimal(str(self.step))
        return float(low + round((Decimal(str(value)) - low) / step) * step)

    def encode(self, value: Value) -> float:
        """Return the number that the sampler sees."""
        return 1 - float(value) if self.scale == "reverse-log" else float(value)

    def contains(self, value: Value) -> bool:
        """Tell whether a value may be chosen."""
        if not is_number(value) or not self.low <= value <= self.high:
            return False
        return not self.step or last_step(self.low, value, self.step) == value

    def at(self, fraction: float) -> float:
        """Return the value this far into the scaled range, on a step where there are steps."""
        if self.step:
            low, step = Decimal(str(self.low)), Decimal(str(self.step))
            return float(low + _index(fraction, self._steps + 1) * step)
        value = _between(self.low, self.high, fraction)
        if self.scale == "log":
            value = _between_logs(self.low, self.high, fraction)
        if self.scale == "reverse-log":
            value = 1 - _between_logs(1 - self.low, 1 - self.high, fraction)
        # Rounding may leave a narrow range.
        return min(max(value, self.low), self.high)

    def fraction(self, value: Value) -> float:
        """Return how far into the scaled range a value is."""
        if self.scale == "log":
            return fraction_between(math.log(self.low), math.log(value), math.log(self.high))
        if self.scale == "reverse-log":
            return fraction_between(
                *(math.log(1 - number) for number in (self.low, value, self.high))
            )
        return fraction_between(self.low, value, self.high)

    def position(self, value: Value) -> tuple[float, ...]:
        """Return the fraction alone."""
        return (self.fraction(value),)

    def distribution(self) -> "BaseDistribution":
        """Return a float distribution from low to high, on its steps where there are steps."""
        from optuna.distributions import FloatDistribution

        return FloatDistribution(
            self.low, self.high, log=self.scale == "log" and self.low < self.high, step=self.step
        )

    def extremes(self) -> list[Value]:
        """Return both ends."""
        return [self.low, self.high]

    def grid(self) -> list[Value]:
        """Return every step from low to high."""
        if self.low == self.high:
            return [self.low]
        if self.step is None:
            raise SpaceError("grid search over a continuous parameter needs its `step`")
        if self._steps >= MAX_COMBINATIONS:
            raise SpaceError(f"has {self._steps + 1} steps, more than grid search can list")
        low, step = Decimal(str(self.low)), Decimal(str(self.step))
        return [float(low + step * index) for index in range(self._steps + 1)]


@dataclass(frozen=True)
class Integer:
    """A whole number from `low` to `high`, both included."""

    low: int
    high: int
    scale: str = "linear"
    step: int = 1
    when: Mapping[str, list[Value]] = field(default_factory=dict)

    def suggest(self, trial: "optuna.Trial", name: str) -> int:
        """Let the trial's sampler choose."""
        log = self.scale == "log"
        if (self.high - self.low) // self.step <= MAX_STEPS:
            return trial.suggest_int(name, self.low, self.high, step=self.step, log=log)
        value = trial.suggest_float(name, self.low, self.high, log=log)
        return self.low + round((value - self.low) / self.step) * self.step

    def encode(self, value: Value) -> float:
        """Return the number that the sampler sees."""
        return int(value)

    def contains(self, value: Value) -> bool:
        """Tell whether a value may be chosen."""
        whole = isinstance(value, int) and not isinstance(value, bool)
        return whole and self.low <= value <= self.high and (value - self.low) % self.step == 0

    def at(self, fraction: float) -> int:
        """Return the value this far into the scaled range."""
        if self.scale == "log":
            value = round(_between_logs(self.low, self.high, fraction))
            return min(max(value, self.low), self.high)
        return self.low + _index(fraction, (self.high - self.low) // self.step + 1) * self.step

    def fraction(self, value: Value) -> float:
        """Return how far into the scaled range a value is."""
        if self.scale == "log":
            return fraction_between(math.log(self.low), math.log(value), math.log(self.high))
        return fraction_between(self.low, value, self.high)

    def position(self, value: Value) -> tuple[float, ...]:
        """Return the fraction alone."""
        return (self.fraction(value),)

    def distribution(self) -> "BaseDistribution":
        """Return an integer distribution from low to high, by its step."""
        from optuna.distributions import IntDistribution

        return IntDistribution(self.low, self.high, log=self.scale == "log", step=self.step)

    def extremes(self) -> list[Value]:
        """Return both ends."""
        return [self.low, self.high]

    def grid(self) -> Sequence[Value]:
        """Return every step from low to high."""
        return range(self.low, self.high + 1, self.step)


@dataclass(frozen=True)
class Categorical:
    """One of several values; numbers are given to the sampler in their order."""

    values: tuple[Value, ...]
    when: Mapping[str, list[Value]] = field(default_factory=dict)

    @property
    def ordered(self) -> bool:
        """Tell whether all values are numbers."""
        return all(is_number(value) for value in self.values)

    @property
    def _sampled(self) -> tuple[Value, ...]:
        return tuple(sorted(self.values)) if self.ordered else self.values

    def suggest(self, trial: "optuna.Trial", name: str) -> Value:
        """Let the trial's sampler choose an index."""
        last = len(self.values) - 1
        if self.ordered:
            return self._sampled[trial.suggest_int(name, 0, last)]
        return self._sampled[trial.suggest_categorical(name, range(last + 1))]

    def encode(self, value: Value) -> int:
        """Return the index that the sampler sees."""
        return [equality_key(known) for known in self._sampled].index(equality_key(value))

    def contains(self, value: Value) -> bool:
        """Tell whether a value may be chosen."""
        return any(value == known and type(value) is type(known) for known in self.values)

    def at(self, fraction: float) -> Value:
        """Return the value this far into their order, or into the list where there is no order."""
        return self._sampled[_index(fraction, len(self.values))]

    def fraction(self, value: Value) -> float:
        """Return how far a value is into their order; without one, the middle of its share."""
        index, count = self.encode(value), len(self.values)
        return fraction_between(0, index, count - 1) if self.ordered else (index + 0.5) / count

    def position(self, value: Value) -> tuple[float, ...]:
        """Return the fraction of a number; where there is no order, a coordinate for each value."""
        if self.ordered:
            return (self.fraction(value),)
        index = self.encode(value)
        return tuple(UNORDERED_DISTANCE * (axis == index) for axis in range(len(self.values)))

    def distribution(self) -> "BaseDistribution":
        """Return a categorical distribution of the values, as they are listed."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.values)

    def extremes(self) -> list[Value]:
        """Return all values."""
        return list(self.values)

    def grid(self) -> list[Value]:
        """Return all values, in the order of the list."""
        return list(self.values)


def last_step(low: float, high: float, step: float) -> float:
    """Return the greatest value on a step, in decimals as written: three of 0.1 are 0.3."""
    first, last = Decimal(str(low)), Decimal(str(high))
    return float(last - (last - first) % Decimal(str(step)))


def _index(fraction: float, count: int) -> int:
    return min(int(fraction * count), count - 1)


def fraction_between(low: float, value: float, high: float) -> float:
    """Return where a value lies between two others: 0 at `low`, 1 at `high`."""
    # Halves, as the difference of two floats may be more than one holds.
    return 0.5 if low == high else (value / 2 - low / 2) / (high / 2 - low / 2)


def _between(low: float, high: float, fraction: float) -> float:
    # Not low + fraction * (high - low), whose difference may be more than a float holds.
    return (1 - fraction) * low + fraction * high


def _between_logs(low: float, high: float, fraction: float) -> float:
    return float(low ** (1 - fraction) * high**fraction)
