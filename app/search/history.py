"""The configurations that a search has tried, and how near others are to them.

Distances are of positions in the space, in which each parameter's range has length 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.experiment.space import Identity, Space, identity

Config = dict[str, Any]
Array = NDArray[np.float64]

RISK_MARGIN = 3.0
"""A configuration is a risk unless it is so many times nearer to a success than to a failure.

If the border of what fails may be anywhere between the two, the farthest configuration that is no
risk lies beyond it once in four times.
"""
RISK_SHARE = 0.25
"""The part of all trials that may have failed, or be risks, before the search takes no more."""
REPEAT_DISTANCE = 0.001
"""Distance up to which a configuration counts as tried if a model suggests it."""


@dataclass(frozen=True)
class TriedConfig:
    """A configuration that was tried, or is in training."""

    config: Config
    position: Sequence[float]
    study_number: int
    """The number of its trial in the Optuna study."""


class History:
    """The configurations that succeeded, failed or are in training."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self.tried: set[Identity] = set()
        """All of them, and those that are excluded."""
        self.successes: list[TriedConfig] = []
        self.failures: list[TriedConfig] = []
        self.running: dict[int, TriedConfig] = {}
        """By the index of the configuration."""

    @property
    def finished(self) -> int:
        """The number of configurations that succeeded or failed."""
        return len(self.successes) + len(self.failures)

    def is_tried(self, config: Config) -> bool:
        """Whether exactly this configuration was tried."""
        return identity(config) in self.tried

    def is_near_tried(self, config: Config) -> bool:
        """Whether a configuration was tried that differs by next to nothing."""
        return bool(self.distances(self._positions([config]))[0] < REPEAT_DISTANCE)

    def distances(self, positions: Array) -> Array:
        """Return the distance of each position, (N, coordinates), to the nearest tried; (N,)."""
        return _distances(positions, [*self.successes, *self.failures, *self.running.values()])

    def risks(self, positions: Array) -> Array:
        """Return a number above 0 for each position, (N, coordinates), that is a risk; (N,)."""
        return RISK_MARGIN * _distances(positions, self.successes) - _distances(
            positions, self.failures
        )

    def is_risk(self, config: Config) -> bool:
        """Whether a configuration is not clearly nearer to a success than to a failure."""
        return bool(self.risks(self._positions([config]))[0] > 0)

    @property
    def is_risk_spent(self) -> bool:
        """Whether so many trials failed, or are at risk, that the search takes no more risks."""
        if not self.failures:
            return False
        running = [tried.position for tried in self.running.values()]
        at_risk = int((self.risks(np.array(running)) > 0).sum()) if running else 0
        return len(self.failures) + at_risk >= RISK_SHARE * len(self.tried)

    def nearest_success(self, config: Config) -> Config:
        """Return the success nearest to a configuration; itself if nothing has succeeded."""
        position = np.array(self._space.position(config))
        nearest = min(
            self.successes,
            key=lambda tried: float(np.linalg.norm(position - tried.position)),
            default=None,
        )
        return config if nearest is None else nearest.config

    def _positions(self, configs: Sequence[Config]) -> Array:
        return np.array([self._space.position(config) for config in configs])


def _distances(positions: Array, tried: Sequence[TriedConfig]) -> Array:
    """Return the distance of each position, (N, coordinates), to the nearest of `tried`; (N,)."""
    if not tried:
        return np.full(len(positions), np.inf)
    others = np.array([config.position for config in tried])
    differences = positions[:, None, :] - others[None, :, :]
    nearest: Array = np.sqrt((differences**2).sum(axis=2)).min(axis=1)
    return nearest
