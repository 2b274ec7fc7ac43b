"""The sampler of `--search bayesian`: Optuna's Gaussian process, on a scale that suits losses."""

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


class GaussianProcessSampler(BaseSampler):
    """Optuna's `GPSampler` over the logarithm of each value's distance from the best.

    A learning rate that diverges costs a hundred times the difference that matters, and a model of
    plain losses spends its accuracy there. Vizier warps its objective likewise (Song et al. 2024,
    arXiv:2408.11527, section 3.2); here the distance is in units of the median's.
    """

    def __init__(self, seed: int) -> None:
        import torch

        # The matrices are small, and the cores belong to the trials.
        torch.set_num_threads(1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            # One seed gives one curve, so the objective has no noise to model.
            self._gp = GPSampler(seed=seed, n_startup_trials=1, deterministic_objective=True)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the parameters that every trial has."""
        return self._gp.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Sample these parameters from a model of the trials so far."""
        warped = optuna.create_study(direction="minimize")
        warped.add_trials(_warped_trials(study, trial))
        # Optuna writes to the trial that it samples for, so it must be one of that study's.
        copy = warped.get_trials(deepcopy=False)[-1]
        return self._gp.sample_relative(warped, copy, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Sample at random a parameter that not every trial has."""
        return self._gp.sample_independent(study, trial, param_name, param_distribution)


def log_distance(losses: Sequence[float]) -> NDArray[np.float64]:
    """Warp losses, (N,), to 0 for the least, log 2 for the median, and logarithms beyond it."""
    quarters = np.asarray(losses, dtype=np.float64) / 4  # No sum of two distances is infinite.
    distances = quarters - quarters.min()
    with np.errstate(over="ignore"):  # A median may be tiny beside a loss that diverged.
        ratios = distances / (np.median(distances) or 0.25)
    logarithms: NDArray[np.float64] = np.log1p(np.minimum(ratios, np.finfo(np.float64).max))
    return logarithms


def _warped_trials(study: Study, sampled: FrozenTrial) -> Iterator[FrozenTrial]:
    """Yield the complete trials with warped values to minimize, the running ones, `sampled`."""
    trials = study.get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
    losses = [sign * _value(trial) for trial in complete]
    for trial, value in zip(complete, log_distance(losses) if losses else (), strict=True):
        yield _copy_params(trial, value=float(value))
    running = (trial for trial in trials if trial.state == TrialState.RUNNING)
    for trial in (*(trial for trial in running if trial.number != sampled.number), sampled):
        yield _copy_params(trial, state=TrialState.RUNNING)


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None  # a complete trial has one
    return trial.value


def _copy_params(trial: FrozenTrial, **fields: Any) -> FrozenTrial:
    return create_trial(params=trial.params, distributions=trial.distributions, **fields)
