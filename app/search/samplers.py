"""Samplers by name: each suggestion is drawn by a new Optuna sampler.

It is seeded by the experiment's seed and the trial's number, so that a resumed run goes on as it
would have gone on. To add a sampler, write a function of a seed and the number of finished trials
(in a file of its own if it is more than a call) and add its line to `SAMPLERS`; the name's traits
are in `app.experiment.search_algorithms`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from app.experiment.space import Space
from app.search.gaussian_process import GaussianProcessSampler

STARTUP_TRIALS = 3
"""Trials whose configurations are fixed before a model-based sampler chooses."""
GP_TRIALS = 100
"""Finished trials from which on a suggestion of a Gaussian process takes too long."""


def _gp(seed: int, finished: int) -> BaseSampler:
    return GaussianProcessSampler(seed)


def _tpe(seed: int, finished: int) -> BaseSampler:
    return TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)


def _bayesian(seed: int, finished: int) -> BaseSampler:
    """Choose the Gaussian process, which learns most from few trials, and TPE for many."""
    return _gp(seed, finished) if finished < GP_TRIALS else _tpe(seed, finished)


def _random(seed: int, finished: int) -> BaseSampler:
    return RandomSampler(seed=seed)


def _no_points(space: Space) -> list[dict[str, Any]]:
    return []


def _sobol_points(space: Space) -> list[dict[str, Any]]:
    """Return the middle of the space, then points a quarter from its ends: Sobol's sequence.

    A model knows nothing until a trial has ended, and three trials start at once.
    """
    from scipy.stats import qmc

    # The sequence's first point is the corner where every parameter is at its lowest.
    sequence = qmc.Sobol(len(space.parameters), scramble=False).random(STARTUP_TRIALS + 1)[1:]
    return [space.at(fractions) for fractions in sequence]


@dataclass(frozen=True)
class SamplerFactory:
    """Builds the samplers of a search."""

    build: Callable[[int, int], BaseSampler]
    """Builds the sampler of one suggestion from its seed and the number of finished trials."""
    points: Callable[[Space], list[dict[str, Any]]] = _no_points
    """Returns configurations to evaluate first."""


SAMPLERS: Mapping[str, SamplerFactory] = {
    "bayesian": SamplerFactory(_bayesian, _sobol_points),
    "gp": SamplerFactory(_gp, _sobol_points),
    "tpe": SamplerFactory(_tpe, _sobol_points),
    "random": SamplerFactory(_random),
    "grid": SamplerFactory(_random, Space.grid),
    "hyperband": SamplerFactory(_bayesian, _sobol_points),
}
"""Samplers by the names that `--search` takes."""
