"""Warm start, strategy and completion settings by SageMaker's names."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from app.sagemaker.aws import warn_once


class WarmStartTypes(Enum):
    """Kinds of warm start."""

    IDENTICAL_DATA_AND_ALGORITHM = "IdenticalDataAndAlgorithm"
    TRANSFER_LEARNING = "TransferLearning"


@dataclass(frozen=True)
class WarmStartConfig:
    """Names of earlier searches; which of their trials count follows from their experiments."""

    warm_start_type: WarmStartTypes | str | None = None
    parents: Iterable[str] = ()

    @classmethod
    def from_job_desc(cls, warm_start_config: Mapping[str, Any] | None) -> "WarmStartConfig | None":
        """Read the configuration back from `describe`; None if there was no warm start."""
        if not warm_start_config:
            return None
        parents = warm_start_config["ParentHyperParameterTuningJobs"]
        names = tuple(parent["HyperParameterTuningJobName"] for parent in parents)
        return cls(WarmStartTypes(warm_start_config["WarmStartType"]), names)


@dataclass(frozen=True)
class TuningJobCompletionCriteriaConfig:
    """Conditions that end a search before its number of jobs."""

    max_number_of_training_jobs_not_improving: int | None = None
    complete_on_convergence: bool | None = None
    target_objective_metric_value: float | None = None


@dataclass(frozen=True)
class HyperbandStrategyConfig:
    """Hyperband's epochs: `max_resource` of a trial that is not stopped; all are judged."""

    max_resource: int
    min_resource: int = 1

    def __post_init__(self) -> None:
        if self.min_resource > 1:
            warn_once("min_resource: ignored, because every epoch is judged, from the first")


@dataclass(frozen=True)
class StrategyConfig:
    """Settings of a strategy beside its name."""

    hyperband_strategy_config: HyperbandStrategyConfig | None = None


@dataclass(frozen=True)
class InstanceConfig:
    """Instances for a trial in place of its estimator's."""

    instance_count: int | None = None
    instance_type: str | None = None
    volume_size: int | None = None
