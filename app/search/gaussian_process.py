"""The Gaussian process behind `--search bayesian`: Optuna's, over a scale that suits losses."""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial


class GaussianProcess(BaseSampler):
    """Optuna's `GPSampler`, told each value as the logarithm of its distance from the best.

    A learning rate that diverges costs a hundred times the difference that matters, and a model
    of plain losses spends itself on it. Vizier warps its objective likewise (Song et al. 2024,
    arXiv:2408.11527, section 3.2); here the distance is in units of the median's.
    """

    def __init__(self, seed: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            # One seed gives one curve, so the objective has no noise to model.
            self._gp = GPSampler(seed=seed, n_startup_trials=1, deterministic_objective=True)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The parameters that every trial has."""
        return self._gp.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values for these parameters, from a model of the trials so far."""
        warped = optuna.create_study(direction="minimize")
        warped.add_trials(_warped(study, trial))
        # Optuna writes to the trial that it samples for, so it must be one of that study's.
        asked = warped.get_trials(deepcopy=False)[-1]
        return self._gp.sample_relative(warped, asked, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """A value at random for a parameter that not every trial has."""
        return self._gp.sample_independent(study, trial, param_name, param_distribution)


def log_distance(losses: Sequence[float]) -> NDArray[np.float64]:
    """0 for the least loss, log 2 for the median, and beyond it as logarithms grow; (N,)."""
    distances = np.asarray(losses, dtype=np.float64) - min(losses)
    logarithms: NDArray[np.float64] = np.log1p(distances / (np.median(distances) or 1.0))
    return logarithms


def _warped(study: Study, asked: FrozenTrial) -> Iterator[FrozenTrial]:
    """The finished trials with their values warped, to be minimised, the running, the one asked."""
    trials = study.get_trials(deepcopy=False)
    finished = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
    losses = [sign * _value(trial) for trial in finished]
    for trial, value in zip(finished, log_distance(losses) if losses else (), strict=True):
        yield _like(trial, value=float(value))
    running = (trial for trial in trials if trial.state == TrialState.RUNNING)
    for trial in (*(each for each in running if each.number != asked.number), asked):
        yield _like(trial, state=TrialState.RUNNING)


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None  # a complete trial has one
    return trial.value


def _like(trial: FrozenTrial, **told: Any) -> FrozenTrial:
    return create_trial(params=trial.params, distributions=trial.distributions, **told)
