"""Search algorithms by name.

Each suggestion is drawn by a fresh sampler, seeded by the experiment's seed and the trial's
number: a resumed run goes on as it would have gone on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.experiment.space import Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


def _bayesian(seed: int, finished: int) -> "BaseSampler":
    """A Gaussian process, which learns most from few trials; TPE once it grows dear."""
    return _gp(seed, finished) if finished < GP_TRIALS else _tpe(seed, finished)


def _gp(seed: int, finished: int) -> "BaseSampler":
    import torch

    from app.search.gaussian_process import GaussianProcess

    # The matrices are small and the cores belong to the trials.
    torch.set_num_threads(1)
    return GaussianProcess(seed)


def _tpe(seed: int, finished: int) -> "BaseSampler":
    from optuna.samplers import TPESampler

    return TPESampler(seed=seed, n_startup_trials=POINTS)


def _random(seed: int, finished: int) -> "BaseSampler":
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=seed)


def _no_points(space: Space) -> list[dict[str, Any]]:
    return []


def _spread(space: Space) -> list[dict[str, Any]]:
    """The middle of the space, then points a quarter from its ends: Sobol's sequence.

    A model has nothing to go by until a trial has ended, and three begin at once.
    """
    from scipy.stats import qmc

    # The sequence's own first point is the corner where every parameter is at its lowest.
    sequence = qmc.Sobol(len(space.parameters), scramble=False).random(POINTS + 1)[1:]
    return [space.at(fractions) for fractions in sequence]


@dataclass(frozen=True)
class Algorithm:
    """One way to search."""

    sampler: Callable[[int, int], "BaseSampler"]
    """Builds the sampler of one suggestion from its seed and the number of finished trials."""
    points: Callable[[Space], list[dict[str, Any]]] = _no_points
    """Configurations to try first."""
    exhaustive: bool = False
    """Whether the points are all there is."""
    learns: bool = True
    """Whether what it proposes depends on how earlier trials went."""
    early_stopping: str | None = None
    """The rule that is part of it; None leaves the choice to the experiment."""


SEARCHES: Mapping[str, Algorithm] = {
    "bayesian": Algorithm(_bayesian, _spread),
    "gp": Algorithm(_gp, _spread),
    "tpe": Algorithm(_tpe, _spread),
    "random": Algorithm(_random, learns=False),
    "grid": Algorithm(_random, Space.grid, exhaustive=True, learns=False),
    "hyperband": Algorithm(_bayesian, _spread, early_stopping="asha"),
}
"""Search algorithms by the names that `--search` takes; SageMaker's, such as Bayesian, too."""

POINTS = 3
"""Configurations that a model-based search tries first."""
GP_TRIALS = 100
"""Finished trials from which on a Gaussian process's suggestion is too dear."""
