"""Facts of a run's outcome: the winner's margin, trials that came near it, and bounds it is at."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.experiment.distributions import Categorical
from app.experiment.space import Space
from app.report.outcome import Outcome, valued

NEAR = 0.05
"""Trials are near the best within this part of the way from it to the middle trial."""
MIN_NEAR_TRIALS = 4
"""Trials with a value from which some may be called near."""
AT_BOUND = 0.03
"""Part of a range, by its scale, within which a value is at its end."""
MAX_SHARE = 10
"""A difference of more times the second value is told as it is."""


@dataclass(frozen=True)
class Margin:
    """The distance between the best trial and the next one."""

    best: float
    second: float
    second_id: str

    @property
    def size(self) -> float:
        """The difference of the two values, 0 or more."""
        return abs(self.best - self.second)

    @property
    def share(self) -> float | None:
        """The difference as a part of the second value; None where it is many times that."""
        return self.size / abs(self.second) if self.size < MAX_SHARE * abs(self.second) else None


def margin(result: Outcome) -> Margin | None:
    """Return how far the best trial is ahead; None where no other has a value."""
    pairs = valued(result)
    if result["best"] is None or len(pairs) < 2:
        return None
    (_, best), (second, value) = pairs[:2]
    return Margin(best, value, second["trial_id"])


def near(result: Outcome) -> list[str]:
    """Return the IDs of trials that came near the best one, which is left out.

    Near is a twentieth of the way from the best value to the median of all: it grows and shrinks
    with what the search found, whatever the metric's unit.
    """
    pairs = valued(result)
    if result["best"] is None or len(pairs) < MIN_NEAR_TRIALS:
        return []
    best, middle = pairs[0][1], pairs[len(pairs) // 2][1]
    reach = NEAR * abs(middle - best)
    return [trial["trial_id"] for trial, value in pairs[1:] if abs(value - best) <= reach]


def at_bounds(result: Outcome, space: Space) -> dict[str, str]:
    """Return `low` or `high` for each parameter of the best trial that is at the end of its range.

    A wider range might then do better. Choices without an order have no ends.
    """
    if result["best"] is None:
        return {}
    config: Mapping[str, Any] = result["best"]["config"]
    found: dict[str, str] = {}
    for name, parameter in space.parameters.items():
        is_choice = isinstance(parameter, Categorical)
        if name not in config or not parameter.contains(config[name]):
            continue
        if len(parameter.extremes()) < 2:
            continue
        if isinstance(parameter, Categorical) and not parameter.ordered:
            continue
        fraction = parameter.fraction(config[name])
        reach = 0.0 if is_choice else AT_BOUND
        if fraction <= reach:
            found[name] = "low"
        elif fraction >= 1 - reach:
            found[name] = "high"
    return found
