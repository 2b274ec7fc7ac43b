"""A tuner's settings by SageMaker's names, and the experiment that they make."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.experiment.schema import Experiment
from app.sagemaker.inputs import Inputs
from app.sagemaker.job import TuningError
from app.sagemaker.parameter import Range
from app.sagemaker.pytorch.estimator import PyTorch
from app.sagemaker.strategy import (
    HyperbandStrategyConfig,
    StrategyConfig,
    TuningJobCompletionCriteriaConfig,
    WarmStartConfig,
)
from trainables.errors.choices import unknown

MODES = {"Minimize": "min", "Maximize": "max"}
EARLY_STOPPING = {"Off": "off", "Auto": "median"}
CONVERGENCE = 0.01
"""Relative change of the objective that SageMaker calls no improvement."""


@dataclass(frozen=True)
class SearchedEstimator:
    """An estimator, its objective and the ranges of its hyperparameters."""

    estimator: PyTorch
    metric: str
    ranges: Mapping[str, Range]
    metric_definitions: Sequence[Mapping[str, str]]

    def tables(self, inputs: Inputs) -> dict[str, Any]:
        """Its part of an experiment's tables."""
        tables = self.estimator.tables(inputs, self.metric_definitions)
        fixed = {name: v for name, v in tables["fixed"].items() if name not in self.ranges}
        space = {name: parameter.as_entry() for name, parameter in self.ranges.items()}
        # A searched hyperparameter is no longer fixed.
        return {**tables, "fixed": fixed, "metric": self.metric, "space": space}


@dataclass(kw_only=True)
class Settings:
    """Settings of a search beside its estimator."""

    strategy: str = "Bayesian"
    objective_type: str = "Maximize"
    max_jobs: int | None = None
    max_parallel_jobs: int | None = None
    max_runtime_in_seconds: float | None = None
    warm_start_config: WarmStartConfig | None = None
    strategy_config: StrategyConfig | None = None
    completion_criteria_config: TuningJobCompletionCriteriaConfig | None = None
    early_stopping_type: str = "Off"
    random_seed: int | None = None

    def __post_init__(self) -> None:
        for name, known in (("objective_type", MODES), ("early_stopping_type", EARLY_STOPPING)):
            value = getattr(self, name)
            if value not in known:
                raise TuningError(f"{name}: {unknown(value, known)}")

    def experiment(self, searched: SearchedEstimator, inputs: Inputs, name: str) -> dict[str, Any]:
        """Make the experiment of that name, as its JSON file holds it."""
        completion = self.completion_criteria_config or TuningJobCompletionCriteriaConfig()
        hyperband = self.strategy_config and self.strategy_config.hyperband_strategy_config
        table = {
            "search": self.strategy,
            "mode": MODES[self.objective_type],
            # A grid has as many jobs as points.
            "num_samples": self.max_jobs or (None if self.strategy == "Grid" else 1),
            "max_concurrent": self.max_parallel_jobs or 1,
            "time_budget": self.max_runtime_in_seconds,
            "early_stopping": EARLY_STOPPING[self.early_stopping_type],
            "seed": self.random_seed or 0,
            "target": completion.target_objective_metric_value,
            "patience": completion.max_number_of_training_jobs_not_improving,
            "convergence": CONVERGENCE if completion.complete_on_convergence else None,
            "epochs": hyperband.max_resource if hyperband else None,
            **searched.tables(inputs),
            "name": name,
        }
        return {key: value for key, value in table.items() if value is not None}


def settings_of(experiment: Experiment, warm_start: WarmStartConfig | None) -> Settings:
    """Read the settings back from the experiment that a run keeps."""
    modes = {mode: name for name, mode in MODES.items()}
    hyperband = (
        HyperbandStrategyConfig(experiment.epochs) if experiment.search == "hyperband" else None
    )
    return Settings(
        strategy=experiment.search.capitalize(),
        objective_type=modes[experiment.mode],
        max_jobs=experiment.num_samples,
        max_parallel_jobs=experiment.max_concurrent,
        max_runtime_in_seconds=experiment.time_budget,
        early_stopping_type="Auto" if experiment.early_stopping.name == "median" else "Off",
        random_seed=experiment.seed,
        strategy_config=StrategyConfig(hyperband),
        warm_start_config=warm_start,
        completion_criteria_config=TuningJobCompletionCriteriaConfig(
            experiment.patience, experiment.convergence is not None, experiment.target
        ),
    )
