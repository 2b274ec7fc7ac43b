"""What a tuner is asked for, by SageMaker's names, and the experiments that this makes."""

import math
import os
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
"""The part of the objective that SageMaker calls no improvement."""


@dataclass(frozen=True)
class Searched:
    """An estimator, and what of it is searched for what."""

    estimator: PyTorch
    metric: str
    ranges: Mapping[str, Range]
    metric_definitions: Sequence[Mapping[str, str]]

    def tables(self, inputs: Inputs) -> dict[str, Any]:
        """What an experiment says of it."""
        tables = self.estimator.tables(inputs, self.metric_definitions)
        fixed = {name: v for name, v in tables["fixed"].items() if name not in self.ranges}
        return {
            **tables,
            "fixed": fixed,  # what is searched is not the estimator's any more
            "metric": self.metric,
            "space": {name: each.as_entry() for name, each in self.ranges.items()},
        }


@dataclass(kw_only=True)
class Settings:
    """What a tuner's searches have in common."""

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

    def experiments(
        self, searched: Mapping[str, Searched], inputs: Mapping[str, Inputs], name: str
    ) -> dict[str, dict[str, Any]]:
        """The experiment of each estimator, which share jobs and processors out among them.

        Raises TuningError where there are not enough.
        """
        count = len(searched)
        alone = 1 if count == 1 and self.strategy != "Grid" else None
        jobs = _shares("max_jobs", self.max_jobs or alone, count)
        parallel = _shares("max_parallel_jobs", self.max_parallel_jobs or count, count)
        workers = (one.estimator.instance_count for one in searched.values())
        busy = sum((at_once or 1) * each for at_once, each in zip(parallel, workers, strict=True))
        experiments = {}
        for (each, one), of_jobs, at_once in zip(searched.items(), jobs, parallel, strict=True):
            keys = {**self._keys(), "num_samples": of_jobs, "max_concurrent": at_once}
            table = {**keys, **one.tables(inputs.get(each)), "name": each or name}
            if count > 1:
                table["resources"] = {"cpus_per_trial": _processors(busy), **table["resources"]}
            experiments[each] = {key: v for key, v in table.items() if v is not None}
        return experiments

    def _keys(self) -> dict[str, Any]:
        completion = self.completion_criteria_config or TuningJobCompletionCriteriaConfig()
        hyperband = self.strategy_config and self.strategy_config.hyperband_strategy_config
        return {
            "search": self.strategy,
            "mode": MODES[self.objective_type],
            "time_budget": self.max_runtime_in_seconds,
            "early_stopping": EARLY_STOPPING[self.early_stopping_type],
            "seed": self.random_seed or 0,
            "target": completion.target_objective_metric_value,
            "patience": completion.max_number_of_training_jobs_not_improving,
            "convergence": CONVERGENCE if completion.complete_on_convergence else None,
            "epochs": hyperband.max_resource if hyperband else None,
        }


def recorded(asked: Sequence[Experiment], warm_start: WarmStartConfig | None) -> Settings:
    """What the experiments of a search say that its tuner was asked for."""
    first = asked[0]
    modes = {mode: name for name, mode in MODES.items()}
    return Settings(
        strategy=first.search.capitalize(),
        objective_type=modes[first.mode],
        max_jobs=sum(each.num_samples for each in asked),
        max_parallel_jobs=sum(each.max_concurrent for each in asked),
        max_runtime_in_seconds=first.time_budget,
        early_stopping_type="Auto" if first.early_stopping == "median" else "Off",
        random_seed=first.seed,
        strategy_config=StrategyConfig(
            HyperbandStrategyConfig(first.epochs) if first.search == "hyperband" else None
        ),
        warm_start_config=warm_start,
        completion_criteria_config=TuningJobCompletionCriteriaConfig(
            first.patience, first.convergence is not None, first.target
        ),
    )


def _shares(name: str, total: int | None, count: int) -> list[int | None]:
    """A number in equal parts, what is left over going to the first."""
    if total is None:
        return [None] * count
    if total < count:
        raise TuningError(f"{name}: {count} estimators need at least {count}, got {total}")
    return [total // count + (number < total % count) for number in range(count)]


def _processors(workers: int) -> float:
    """A worker's part of this machine where several runs divide it, none knowing of the others."""
    return max(0.01, min(1.0, math.floor(len(os.sched_getaffinity(0)) / workers * 100) / 100))
