"""Search algorithms by name.

Each suggestion is drawn by a fresh sampler, seeded by the experiment's seed and the trial's
number: a resumed run goes on as it would have gone on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.experiment.search_algorithms import ALGORITHMS, SearchAlgorithm
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

    traits: SearchAlgorithm
    sampler: Callable[[int, int], "BaseSampler"]
    """Builds the sampler of one suggestion from its seed and the number of finished trials."""
    points: Callable[[Space], list[dict[str, Any]]] = _no_points
    """Configurations to try first."""


SEARCHES: Mapping[str, Algorithm] = {
    "bayesian": Algorithm(ALGORITHMS["bayesian"], _bayesian, _spread),
    "gp": Algorithm(ALGORITHMS["gp"], _gp, _spread),
    "tpe": Algorithm(ALGORITHMS["tpe"], _tpe, _spread),
    "random": Algorithm(ALGORITHMS["random"], _random),
    "grid": Algorithm(ALGORITHMS["grid"], _random, Space.grid),
    "hyperband": Algorithm(ALGORITHMS["hyperband"], _bayesian, _spread),
}
"""Samplers and first configurations by the names of `app.experiment.search_algorithms`."""

POINTS = 3
"""Configurations that a model-based search tries first."""
GP_TRIALS = 100
"""Finished trials from which on a Gaussian process's suggestion is too dear."""
