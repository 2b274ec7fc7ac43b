"""How a search begins, goes on and ends, by SageMaker's names."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from app.sagemaker.aws import say_once


class WarmStartTypes(Enum):
    """How a search takes over what earlier ones learned."""

    IDENTICAL_DATA_AND_ALGORITHM = "IdenticalDataAndAlgorithm"
    TRANSFER_LEARNING = "TransferLearning"


@dataclass(frozen=True)
class WarmStartConfig:
    """Earlier searches, by their names; what of each counts is worked out from what they were."""

    warm_start_type: WarmStartTypes | str | None = None
    parents: Iterable[str] = ()

    @classmethod
    def from_job_desc(cls, warm_start_config: Mapping[str, Any] | None) -> "WarmStartConfig | None":
        """What `describe` says of a search that began with earlier ones; None of any other."""
        if not warm_start_config:
            return None
        parents = warm_start_config["ParentHyperParameterTuningJobs"]
        names = tuple(each["HyperParameterTuningJobName"] for each in parents)
        return cls(WarmStartTypes(warm_start_config["WarmStartType"]), names)


@dataclass(frozen=True)
class TuningJobCompletionCriteriaConfig:
    """What ends a search before its number of jobs."""

    max_number_of_training_jobs_not_improving: int | None = None
    complete_on_convergence: bool | None = None
    target_objective_metric_value: float | None = None


@dataclass(frozen=True)
class HyperbandStrategyConfig:
    """The epochs of a trial that is not stopped; every one of them is judged, from the first."""

    max_resource: int
    min_resource: int = 1

    def __post_init__(self) -> None:
        if self.min_resource > 1:
            say_once("min_resource: every epoch is judged, from the first; taken and ignored")


@dataclass(frozen=True)
class StrategyConfig:
    """What a strategy is told beside its name."""

    hyperband_strategy_config: HyperbandStrategyConfig | None = None


@dataclass(frozen=True)
class InstanceConfig:
    """Instances that a trial is given instead of its estimator's."""

    instance_count: int | None = None
    instance_type: str | None = None
    volume_size: int | None = None
