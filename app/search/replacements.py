"""Replacements for suggestions that were tried already or are likely to fail."""

import itertools
from collections.abc import Sequence

import numpy as np

from app.experiment.errors import SpaceError
from app.experiment.space import Identity, Space, identity
from app.search.history import Array, Config, History

SPACINGS = (0.05, 0.02, 0.01, 0.005, 0.0)
"""Distances that a replacement keeps from all that was tried: the first that is possible."""
CANDIDATES = 512
"""Configurations from which a replacement is chosen; all of a space that has no more."""
JITTER = 0.1
"""Standard deviation of candidates around the way from a suggestion to a success."""


class Replacements:
    """Chooses a configuration in place of one that a sampler suggested."""

    def __init__(self, space: Space, history: History, *, learns: bool) -> None:
        """Choose by distance to the suggestion if the search `learns`, and at random if not."""
        self._space = space
        self._history = history
        self._learns = learns
        self._all = _all_configs(space)

    def choose(
        self, suggestion: Config | None, rng: np.random.Generator, *, avoid_risks: bool
    ) -> Config | None:
        """Return the untried configuration nearest to the suggestion; None if none is left.

        Args:
            suggestion: The sampler's suggestion; None for one as far as possible from all tried.
            rng: Draws the candidates.
            avoid_risks: Leave out configurations that are likely to fail.
        """
        candidates = self._candidates(suggestion, rng)
        untried = [config for config in candidates if not self._history.is_tried(config)]
        if not untried:
            return self.first_untried()
        if not self._learns:
            return untried[int(rng.integers(len(untried)))]
        positions = np.array([self._space.position(config) for config in untried])
        distances = self._history.distances(positions)
        if suggestion is None:
            return untried[int(distances.argmax())]
        risks = self._history.risks(positions) if avoid_risks else np.zeros(len(untried))
        if risks.min() > 0:
            return untried[int(risks.argmin())]
        spacing = _first_possible(SPACINGS, distances[risks <= 0].max())
        off = np.linalg.norm(positions - self._space.position(suggestion), axis=1)
        off[(risks > 0) | (distances < spacing)] = np.inf
        return untried[int(off.argmin())]

    def first_untried(self) -> Config | None:
        """Return the first untried combination; None if none is left, or they are uncountable."""
        try:
            combinations = self._space.combinations()
            return next(
                (config for config in combinations if not self._history.is_tried(config)), None
            )
        except SpaceError:
            return None

    @property
    def is_exhausted(self) -> bool:
        """Whether the space is small and all of it was tried."""
        return self._all is not None and self._all.keys() <= self._history.tried

    def count_if_exhausted(self) -> int | None:
        """Return the number of combinations if all were tried, None if one is left."""
        if self._all is not None:
            return len(self._all) if self.is_exhausted else None
        if self.first_untried() is not None:
            return None
        try:
            return sum(1 for _ in self._space.combinations())
        except SpaceError:
            return None

    def _candidates(self, suggestion: Config | None, rng: np.random.Generator) -> list[Config]:
        """Draw configurations of the whole space, and around the way to the nearest success."""
        if self._all is not None:
            return list(self._all.values())
        shape = (CANDIDATES, len(self._space.parameters))
        fractions = rng.random(shape)
        if suggestion is not None and self._learns:
            start = np.array(self._space.fractions(suggestion))
            success = self._history.nearest_success(suggestion)
            end: Array = np.array(self._space.fractions(success))
            jitter = JITTER * rng.standard_normal(shape) * rng.integers(0, 2, shape)
            way = start + rng.random((CANDIDATES, 1)) * (end - start) + jitter
            fractions = np.concatenate([fractions, way.clip(0, 1)])
        return [self._space.at(row) for row in fractions.tolist()]


def _all_configs(space: Space) -> dict[Identity, Config] | None:
    """Return all configurations of a space that has few; None for any other."""
    try:
        first = list(itertools.islice(space.combinations(), CANDIDATES + 1))
    except SpaceError:
        return None
    return {identity(config): config for config in first} if len(first) <= CANDIDATES else None


def _first_possible(spacings: Sequence[float], limit: float) -> float:
    return next(spacing for spacing in spacings if spacing <= limit)
