"""The objective of a search: a metric, and whether less or more of it is better."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

Direction = Literal["minimize", "maximize"]
DIRECTIONS: Mapping[str, Direction] = {"min": "minimize", "max": "maximize"}
"""Optuna's names of the directions, by the values of `mode`."""


VALUES: Mapping[str, Callable[[float, float], bool]] = {
    "last": lambda before, now: True,
    "best": lambda before, now: now < before,
    "first": lambda before, now: False,
}
"""Rules, by name, that choose the value of a trial among those that it reported.

Each tells whether a later loss takes the place of an earlier one.
"""


@dataclass(frozen=True)
class Objective:
    """The metric that decides which trial is best.

    `min(values, key=objective.as_loss)` is the best value, `max` the worst.
    """

    metric: str
    mode: str
    """`min` or `max`."""

    @property
    def direction(self) -> Direction:
        """The mode by Optuna's name."""
        return DIRECTIONS[self.mode]

    def as_loss(self, value: float) -> float:
        """Return the value, or its negative where more is better: of losses, less is better."""
        return value if self.mode == "min" else -value

    def better(self, value: float, other: float) -> bool:
        """Tell whether a value is strictly better than another one."""
        return self.as_loss(value) < self.as_loss(other)
