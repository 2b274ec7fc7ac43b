"""A search by SageMaker's names: `HyperparameterTuner` over `python -m app.tune`."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from app.sagemaker import description, endpoint, job
from app.sagemaker.analytics import HyperparameterTuningJobAnalytics
from app.sagemaker.aws import ignore
from app.sagemaker.inputs import Inputs
from app.sagemaker.job import Job, TuningError, TuningJob
from app.sagemaker.parameter import (
    CategoricalParameter,
    ContinuousParameter,
    IntegerParameter,
    Range,
    Ranges,
    tuning_ranges,
)
from app.sagemaker.predictor import Predictor
from app.sagemaker.pytorch.estimator import PyTorch, described
from app.sagemaker.session import Session
from app.sagemaker.settings import Searched, Settings, recorded
from app.sagemaker.strategy import (
    HyperbandStrategyConfig,
    InstanceConfig,
    StrategyConfig,
    TuningJobCompletionCriteriaConfig,
    WarmStartConfig,
    WarmStartTypes,
)
from app.sagemaker.trials import why

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
    """Searches an estimator's hyperparameters, or those of several, in one run each."""

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
        estimator_name: str | None = None,
        random_seed: int | None = None,
        autotune: bool = False,
        hyperparameters_to_keep_static: Sequence[str] | None = None,
    ) -> None:
        """Take what SageMaker's own takes; definitions of metrics may be the estimator's too."""
        ignore({"tags": tags})
        if autotune or hyperparameters_to_keep_static:
            raise TuningError("autotune: ranges are not made up here; give hyperparameter_ranges")
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
        searched = Searched(estimator, objective_metric_name, hyperparameter_ranges, definitions)
        self.searched = {estimator_name or "": searched}
        self.base_tuning_job_name = base_tuning_job_name or estimator.base_job_name
        self.latest_tuning_job: TuningJob | None = None
        self._endpoint: str | None = None

    @classmethod
    def create(
        cls,
        estimator_dict: Mapping[str, PyTorch],
        objective_metric_name_dict: Mapping[str, str],
        hyperparameter_ranges_dict: Mapping[str, Mapping[str, Range]],
        metric_definitions_dict: Mapping[str, Definitions] | None = None,
        base_tuning_job_name: str | None = None,
        **settings: Any,
    ) -> "HyperparameterTuner":
        """A tuner of several estimators by their names; the best trial is the best of all.

        Raises TuningError where an estimator lacks its objective or ranges.
        """
        tuners = [
            cls(
                estimator,
                _of(name, "objective_metric_name_dict", objective_metric_name_dict),
                _of(name, "hyperparameter_ranges_dict", hyperparameter_ranges_dict),
                (metric_definitions_dict or {}).get(name),
                estimator_name=name,
                base_tuning_job_name=base_tuning_job_name,
                **settings,
            )
            for name, estimator in estimator_dict.items()
        ]
        if not tuners:
            raise TuningError("estimator_dict: is empty; name at least one estimator")
        for each in tuners[1:]:
            tuners[0].searched.update(each.searched)
        return tuners[0]

    @classmethod
    def attach(
        cls, tuning_job_name: str, sagemaker_session: Session | None = None, **aws: Any
    ) -> "HyperparameterTuner":
        """The tuner of an earlier search; raises StoreError where there is none of that name."""
        ignore(aws)
        session = sagemaker_session or Session()
        found = description.definitions(session.runs, tuning_job_name)
        estimators = {each.name: described(each.run, session) for each in found}
        tuner = cls.create(
            estimators,
            {each.name: each.asked.metric for each in found},
            {each.name: each.ranges for each in found},
        )
        warm_start = WarmStartConfig.from_job_desc(found[0].warm_start)
        tuner.settings = recorded([each.asked for each in found], warm_start)
        name = tuning_job_name if found[0].name else found[0].run.name
        tuner.latest_tuning_job = TuningJob(session, name)
        return tuner

    @property
    def estimator(self) -> PyTorch:
        """The estimator, or the first of several."""
        return next(iter(self.searched.values())).estimator

    @property
    def sagemaker_session(self) -> Session:
        """Where its runs are kept."""
        return self.estimator.sagemaker_session

    def fit(
        self,
        inputs: Any = None,
        job_name: str | None = None,
        include_cls_metadata: Any = None,
        estimator_kwargs: Any = None,
        wait: bool = True,
    ) -> None:
        """Begin the search, and unless told otherwise show how it goes until its end.

        Several estimators have their inputs by their names. Raises TuningError with the search's
        own sentence where it fails.
        """
        ignore({"include_cls_metadata": include_cls_metadata, "estimator_kwargs": estimator_kwargs})
        experiments, parents = self.experiments(inputs), self._parents()
        session, name = self.sagemaker_session, job_name or job.named(self.base_tuning_job_name)
        jobs: dict[str, Job] = {}
        for each, experiment in experiments.items():
            run = f"{name}-{each}" if each else name
            try:
                jobs[each] = Job.start(session, run, experiment, parents=parents)
            except TuningError:
                for started in jobs.values():
                    started.stop()
                raise
        self.latest_tuning_job = TuningJob(session, name, jobs)
        if wait:
            self.wait()

    def experiments(self, inputs: Any = None) -> dict[str, dict[str, Any]]:
        """The experiments that `fit` runs, as their files have them, by estimator."""
        several = len(self.searched) > 1 or "" not in self.searched
        by_name: Mapping[str, Inputs] = (inputs or {}) if several else {"": inputs}
        return self.settings.experiments(self.searched, by_name, self.base_tuning_job_name)

    def wait(self) -> None:
        """Show how the search goes until its end; raises TuningError where it fails."""
        self._job.wait()

    def describe(self) -> dict[str, Any]:
        """What SageMaker's `describe` says, its values with their types."""
        return description.describe(self._job.definitions(), self._job.name)

    def stop_tuning_job(self) -> None:
        """End the search; its best model so far is exported."""
        self._job.stop()

    def best_training_job(self) -> str:
        """The name of the best trial; raises TuningError where none has a value, and says why."""
        found = self._job.definitions()
        best = description.best(found)
        if best is None:
            reasons = "; ".join(why(each.run) for each in found)
            raise TuningError(f"{self._job.name} has no best trial: {reasons}")
        return str(best[1]["TrainingJobName"])

    def best_estimator(self, best_training_job: str | Mapping[str, Any] | None = None) -> PyTorch:
        """The estimator with the best trial's values and its model, or with another trial's."""
        name = best_training_job or self.best_training_job()
        told = name if isinstance(name, str) else name["TrainingJobName"]
        return PyTorch.attach(told, self.sagemaker_session)

    def deploy(
        self,
        initial_instance_count: int = 1,
        instance_type: str | None = None,
        *rest: Any,
        **more: Any,
    ) -> Predictor:
        """Serve the best trial's model on this machine; the rest is as `PyTorchModel` takes it."""
        best = self.best_estimator()
        predictor = best.deploy(initial_instance_count, instance_type, *rest, **more)
        self._endpoint = predictor.endpoint_name
        return predictor

    def delete_endpoint(self, endpoint_name: str | None = None) -> None:
        """End what `deploy` started, or the endpoint of that name."""
        name = endpoint_name or self._endpoint
        if name is not None:
            endpoint.stop(name)

    def analytics(self) -> HyperparameterTuningJobAnalytics:
        """The trials as a table."""
        return HyperparameterTuningJobAnalytics(self._job.name, self.sagemaker_session)

    def hyperparameter_ranges(self) -> Ranges:
        """What is searched, as `describe` has it; of the first estimator where there are more."""
        return next(iter(self.hyperparameter_ranges_dict().values()))

    def hyperparameter_ranges_dict(self) -> dict[str, Ranges]:
        """What is searched by estimator, as `describe` has it."""
        return {name: tuning_ranges(each.ranges) for name, each in self.searched.items()}

    def override_resource_config(self, instance_configs: Any) -> None:
        """Give trials other instances than their estimators name; of several kinds, the first."""
        for name, each in self.searched.items():
            configs = instance_configs[name] if name else instance_configs
            changed = copy.copy(each.estimator)
            changed.instance_count = configs[0].instance_count or 1
            changed.instance_type = configs[0].instance_type
            self.searched[name] = replace(each, estimator=changed)

    def identical_dataset_and_algorithm_tuner(
        self, additional_parents: Iterable[str] | None = None
    ) -> "HyperparameterTuner":
        """The same search again, which begins with what this one has learned."""
        kind = WarmStartTypes.IDENTICAL_DATA_AND_ALGORITHM
        return self._after(kind, additional_parents, None)

    def transfer_learning_tuner(
        self,
        additional_parents: Iterable[str] | None = None,
        estimator: PyTorch | None = None,
    ) -> "HyperparameterTuner":
        """The search of another estimator, which begins with what this one has learned."""
        return self._after(WarmStartTypes.TRANSFER_LEARNING, additional_parents, estimator)

    def _after(
        self,
        kind: WarmStartTypes,
        more: Iterable[str] | None,
        estimator: PyTorch | None,
    ) -> "HyperparameterTuner":
        parents = tuple(dict.fromkeys([self._job.name, *(more or ())]))
        tuner = copy.copy(self)
        tuner.settings = replace(self.settings, warm_start_config=WarmStartConfig(kind, parents))
        tuner.searched = {
            name: replace(each, estimator=estimator or each.estimator)
            for name, each in self.searched.items()
        }
        tuner.latest_tuning_job = tuner._endpoint = None
        return tuner

    def _parents(self) -> list[str]:
        """The runs to begin with: each parent's, one for each of its estimators."""
        config = self.settings.warm_start_config
        parents = list(config.parents) if config else []
        if parents and len(self.searched) > 1:
            raise TuningError("warm_start_config: is for a single estimator, as on SageMaker")
        runs = self.sagemaker_session.runs
        return [
            each.run.name for parent in parents for each in description.definitions(runs, parent)
        ]

    @property
    def _job(self) -> TuningJob:
        if self.latest_tuning_job is None:
            raise TuningError("no search has begun: call fit() first")
        return self.latest_tuning_job


def _of(name: str, where: str, given: Mapping[str, Any]) -> Any:
    if name not in given:
        raise TuningError(f"{where}: has no {name!r}; it has {', '.join(given)}")
    return given[name]
