"""`HyperparameterTuner` by SageMaker's names, over `python -m app.tune`."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from app.api import Run
from app.sagemaker import description, endpoint
from app.sagemaker.analytics import HyperparameterTuningJobAnalytics
from app.sagemaker.aws import ignore
from app.sagemaker.inputs import Inputs
from app.sagemaker.job import Job, TuningError, timestamp_name
from app.sagemaker.parameter import (
    CategoricalParameter,
    ContinuousParameter,
    IntegerParameter,
    Range,
    Ranges,
    tuning_ranges,
)
from app.sagemaker.predictor import Predictor
from app.sagemaker.pytorch.estimator import PyTorch, estimator_of
from app.sagemaker.session import Session
from app.sagemaker.settings import SearchedEstimator, Settings, settings_of
from app.sagemaker.strategy import (
    HyperbandStrategyConfig,
    InstanceConfig,
    StrategyConfig,
    TuningJobCompletionCriteriaConfig,
    WarmStartConfig,
    WarmStartTypes,
)

__all__ = [
    "CategoricalParameter",
    "ContinuousParameter",
    "HyperbandStrategyConfig",
    "HyperparameterTuner",
    "InstanceConfig",
    "IntegerParameter",
    "StrategyConfig",
    "TuningError",
    "TuningJobCompletionCriteriaConfig",
    "WarmStartConfig",
    "WarmStartTypes",
]

Definitions = Sequence[Mapping[str, str]]


class HyperparameterTuner:
    """Search for an estimator's hyperparameters, in one run a search."""

    def __init__(
        self,
        estimator: PyTorch,
        objective_metric_name: str,
        hyperparameter_ranges: Mapping[str, Range],
        metric_definitions: Definitions | None = None,
        strategy: str = "Bayesian",
        objective_type: str = "Maximize",
        max_jobs: int | None = None,
        max_parallel_jobs: int | None = None,
        max_runtime_in_seconds: float | None = None,
        tags: Any = None,
        base_tuning_job_name: str | None = None,
        warm_start_config: WarmStartConfig | None = None,
        strategy_config: StrategyConfig | None = None,
        completion_criteria_config: TuningJobCompletionCriteriaConfig | None = None,
        early_stopping_type: str = "Off",
        random_seed: int | None = None,
        autotune: bool = False,
        hyperparameters_to_keep_static: Sequence[str] | None = None,
    ) -> None:
        """Take SageMaker's arguments; the metric definitions default to the estimator's.

        Raises TuningError for an unknown objective or early stopping type, or autotune.
        """
        ignore({"tags": tags})
        if autotune or hyperparameters_to_keep_static:
            raise TuningError("autotune: not available here; give hyperparameter_ranges")
        self.settings = Settings(
            strategy=strategy,
            objective_type=objective_type,
            max_jobs=max_jobs,
            max_parallel_jobs=max_parallel_jobs,
            max_runtime_in_seconds=max_runtime_in_seconds,
            warm_start_config=warm_start_config,
            strategy_config=strategy_config,
            completion_criteria_config=completion_criteria_config,
            early_stopping_type=early_stopping_type,
            random_seed=random_seed,
        )
        definitions = metric_definitions or estimator.metric_definitions
        self.searched = SearchedEstimator(
            estimator, objective_metric_name, hyperparameter_ranges, definitions
        )
        self.base_tuning_job_name = base_tuning_job_name or estimator.base_job_name
        self.latest_tuning_job: Job | None = None
        self._endpoint: str | None = None

    @classmethod
    def attach(
        cls, tuning_job_name: str, sagemaker_session: Session | None = None, **aws: Any
    ) -> "HyperparameterTuner":
        """Find the tuner of an earlier search; raises StoreError if there is none of that name."""
        ignore(aws)
        session = sagemaker_session or Session()
        found = description.find(session.runs, tuning_job_name)
        run = Run(found.run.folder)
        tuner = cls(estimator_of(run, session), found.experiment.metric, found.ranges)
        tuner.settings = settings_of(
            found.experiment, WarmStartConfig.from_job_desc(found.warm_start)
        )
        tuner.latest_tuning_job = Job(run)
        return tuner

    @property
    def estimator(self) -> PyTorch:
        """The estimator whose hyperparameters are searched."""
        return self.searched.estimator

    @property
    def sagemaker_session(self) -> Session:
        """The estimator's session, which says where runs are kept."""
        return self.estimator.sagemaker_session

    def fit(
        self,
        inputs: Inputs = None,
        job_name: str | None = None,
        include_cls_metadata: Any = None,
        estimator_kwargs: Any = None,
        wait: bool = True,
    ) -> None:
        """Start the search and, with `wait`, show its output until it ends.

        Raises TuningError with the search's message if it fails.
        """
        ignore({"include_cls_metadata": include_cls_metadata, "estimator_kwargs": estimator_kwargs})
        name = job_name or timestamp_name(self.base_tuning_job_name)
        experiment, parents = self.experiment(inputs), self._parents()
        job = Job.start(self.sagemaker_session, name, experiment, parents=parents)
        self.latest_tuning_job = job
        if wait:
            job.wait()

    def experiment(self, inputs: Inputs = None) -> dict[str, Any]:
        """Make the experiment that `fit` runs, as its JSON file holds it."""
        return self.settings.experiment(self.searched, inputs, self.base_tuning_job_name)

    def wait(self) -> None:
        """Show the search's output until it ends; raises TuningError if it fails."""
        self._job.wait()

    def describe(self) -> dict[str, Any]:
        """SageMaker's `describe`; values keep their types."""
        return self._description().describe(self._job.name)

    def stop_tuning_job(self) -> None:
        """Stop the search and export its best model so far; raises StoreError if it has ended."""
        self._job.run.stop(wait=False)

    def best_training_job(self) -> str:
        """Name of the best trial; raises TuningError if none has a value, with the reason."""
        found = self._description()
        if found.best is None:
            status = self._job.run.describe_status()
            raise TuningError(f"{self._job.name} has no best trial: it is {status}")
        return str(found.best["TrainingJobName"])

    def best_estimator(self, best_training_job: str | Mapping[str, Any] | None = None) -> PyTorch:
        """The estimator with the values and the model of the best trial, or of the one given."""
        job = best_training_job or self.best_training_job()
        name = job if isinstance(job, str) else job["TrainingJobName"]
        return PyTorch.attach(name, self.sagemaker_session)

    def deploy(
        self,
        initial_instance_count: int = 1,
        instance_type: str | None = None,
        *rest: Any,
        **more: Any,
    ) -> Predictor:
        """Serve the best trial's model on this machine; further arguments are `PyTorchModel`'s."""
        best = self.best_estimator()
        predictor = best.deploy(initial_instance_count, instance_type, *rest, **more)
        self._endpoint = predictor.endpoint_name
        return predictor

    def delete_endpoint(self, endpoint_name: str | None = None) -> None:
        """Stop the endpoint of that name, by default the one that `deploy` started."""
        name = endpoint_name or self._endpoint
        if name is not None:
            endpoint.stop(name)

    def analytics(self) -> HyperparameterTuningJobAnalytics:
        """The trials, to be read as a table."""
        return HyperparameterTuningJobAnalytics(self._job.name, self.sagemaker_session)

    def hyperparameter_ranges(self) -> Ranges:
        """The ranges by kind, as `describe` lists them."""
        return tuning_ranges(self.searched.ranges)

    def override_resource_config(self, instance_configs: Sequence[InstanceConfig]) -> None:
        """Give trials other instances than the estimator names; of several kinds, the first."""
        changed = copy.copy(self.estimator)
        changed.instance_count = instance_configs[0].instance_count or 1
        changed.instance_type = instance_configs[0].instance_type
        self.searched = replace(self.searched, estimator=changed)

    def identical_dataset_and_algorithm_tuner(
        self, additional_parents: Iterable[str] | None = None
    ) -> "HyperparameterTuner":
        """Make the same search again, starting from the results of this one."""
        kind = WarmStartTypes.IDENTICAL_DATA_AND_ALGORITHM
        return self._continue(kind, additional_parents, None)

    def transfer_learning_tuner(
        self,
        additional_parents: Iterable[str] | None = None,
        estimator: PyTorch | None = None,
    ) -> "HyperparameterTuner":
        """Make a search of another estimator, starting from the results of this one."""
        return self._continue(WarmStartTypes.TRANSFER_LEARNING, additional_parents, estimator)

    def _continue(
        self,
        kind: WarmStartTypes,
        more: Iterable[str] | None,
        estimator: PyTorch | None,
    ) -> "HyperparameterTuner":
        parents = tuple(dict.fromkeys([self._job.name, *(more or ())]))
        tuner = copy.copy(self)
        tuner.settings = replace(self.settings, warm_start_config=WarmStartConfig(kind, parents))
        tuner.searched = replace(self.searched, estimator=estimator or self.estimator)
        tuner.latest_tuning_job = tuner._endpoint = None
        return tuner

    def _parents(self) -> list[str]:
        """Names of the runs that the search starts from."""
        config = self.settings.warm_start_config
        parents = config.parents if config else ()
        return [description.find(self.sagemaker_session.runs, name).run.name for name in parents]

    def _description(self) -> description.TuningDescription:
        return description.find(self.sagemaker_session.runs, self._job.name)

    @property
    def _job(self) -> Job:
        if self.latest_tuning_job is None:
            raise TuningError("no search has begun: call fit() first")
        return self.latest_tuning_job
