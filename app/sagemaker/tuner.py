"""A search by SageMaker's names: `HyperparameterTuner` over `python -m app.tune`."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app import store
from app.run import MODEL
from app.sagemaker.analytics import HyperparameterTuningJobAnalytics, describe
from app.sagemaker.deserializers import Deserializer
from app.sagemaker.inputs import Inputs, channels
from app.sagemaker.parameter import (
    CategoricalParameter,
    ContinuousParameter,
    IntegerParameter,
    Range,
)
from app.sagemaker.predictor import Predictor, deployed
from app.sagemaker.pytorch import PyTorch
from app.sagemaker.serializers import Serializer
from app.sagemaker.session import Session, ignore
from app.store import Run, StoreError

__all__ = [
    "CategoricalParameter",
    "ContinuousParameter",
    "HyperparameterTuner",
    "IntegerParameter",
    "TuningJobCompletionCriteriaConfig",
    "WarmStartConfig",
]

MODES = {"Minimize": "min", "Maximize": "max"}
EARLY_STOPPING = {"Off": "off", "Auto": "median"}
POLL_S = 0.2
CONVERGENCE = 0.01
"""The part of the objective that SageMaker calls no improvement."""


class TuningError(Exception):
    """A search that gave nothing, in one sentence."""


@dataclass(frozen=True)
class WarmStartConfig:
    """Earlier runs that a search begins with; the kind is worked out by what fits."""

    warm_start_type: Any = None
    parents: Sequence[str] = ()


@dataclass(frozen=True)
class TuningJobCompletionCriteriaConfig:
    """What ends a search before its number of jobs."""

    max_number_of_training_jobs_not_improving: int | None = None
    complete_on_convergence: bool | None = None
    target_objective_metric_value: float | None = None


@dataclass(kw_only=True)
class _Asked:
    """What a tuner was asked for, as an experiment's keys."""

    search: str = "Bayesian"
    metric: str
    mode: str
    num_samples: int | None = None
    max_concurrent: int = 1
    time_budget: float | None = None
    early_stopping: str = "off"
    seed: int = 0
    target: float | None = None
    patience: int | None = None
    convergence: float | None = None
    space: dict[str, Any] = field(default_factory=dict)


class HyperparameterTuner:
    """Searches an estimator's hyperparameters, one run after `fit`."""

    def __init__(
        self,
        estimator: PyTorch,
        objective_metric_name: str,
        hyperparameter_ranges: Mapping[str, Range],
        metric_definitions: Sequence[Mapping[str, str]] | None = None,
        strategy: str = "Bayesian",
        objective_type: str = "Maximize",
        max_jobs: int | None = None,
        max_parallel_jobs: int = 1,
        *,
        max_runtime_in_seconds: float | None = None,
        base_tuning_job_name: str | None = None,
        warm_start_config: WarmStartConfig | None = None,
        completion_criteria_config: TuningJobCompletionCriteriaConfig | None = None,
        early_stopping_type: str = "Off",
        random_seed: int | None = None,
        **aws: Any,
    ) -> None:
        """Take what SageMaker's own takes; a list of metrics may be the estimator's."""
        ignore(aws)
        for name, value, known in (
            ("objective_type", objective_type, MODES),
            ("early_stopping_type", early_stopping_type, EARLY_STOPPING),
        ):
            if value not in known:
                raise TuningError(f"{name}: unknown {value!r}; choose from {', '.join(known)}")
        completion = completion_criteria_config or TuningJobCompletionCriteriaConfig()
        self.estimator = estimator
        self.metric_definitions = list(metric_definitions or estimator.metric_definitions)
        self.base_tuning_job_name = base_tuning_job_name or "pytorch-training"
        self.parents = list(warm_start_config.parents) if warm_start_config else []
        self.latest_tuning_job: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        # A file and no pipe: nobody may read until `wait` is called.
        self._told = tempfile.NamedTemporaryFile(prefix="tuneport-")  # noqa: SIM115
        self._predictor: Predictor | None = None
        self._asked = _Asked(
            search=strategy,
            metric=objective_metric_name,
            mode=MODES[objective_type],
            num_samples=max_jobs if max_jobs is not None or strategy == "Grid" else 1,
            max_concurrent=max_parallel_jobs,
            time_budget=max_runtime_in_seconds,
            early_stopping=EARLY_STOPPING[early_stopping_type],
            seed=random_seed or 0,
            target=completion.target_objective_metric_value,
            patience=completion.max_number_of_training_jobs_not_improving,
            convergence=CONVERGENCE if completion.complete_on_convergence else None,
            space={name: each.as_entry() for name, each in hyperparameter_ranges.items()},
        )

    def fit(
        self, inputs: Inputs = None, job_name: str | None = None, *, wait: bool = True, **aws: Any
    ) -> None:
        """Begin the search, and unless told otherwise show how it goes until its end.

        Raises TuningError with the search's own sentence where it fails.
        """
        ignore(aws)
        name = job_name or f"{self.base_tuning_job_name}-{time.strftime('%Y%m%d-%H%M%S')}"
        command = [sys.executable, "-m", "app.tune", "--runs", str(self._runs), "--name", name]
        for parent in self.parents:
            command += ["--warm-start", parent]
        with tempfile.TemporaryDirectory() as folder:
            experiment = Path(folder, "experiment.json")
            experiment.write_text(json.dumps(self.experiment(inputs)), encoding="utf-8")
            self._process = subprocess.Popen(
                [*command, str(experiment)],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                stdout=subprocess.DEVNULL,
                stderr=self._told,
            )
            self.latest_tuning_job = name
            self._wait_until_begun()
        if wait:
            self.wait()

    def experiment(self, inputs: Inputs = None) -> dict[str, Any]:
        """The experiment that `fit` runs, as its file has it."""
        asked = {key: value for key, value in vars(self._asked).items() if value is not None}
        estimator = self.estimator
        script = {
            "entry_point": estimator.entry_point,
            "metrics": [
                {"name": each["Name"], "regex": each["Regex"]} for each in self.metric_definitions
            ],
        }
        if estimator.source_dir is not None:
            script["source_dir"] = estimator.source_dir
        return {
            **asked,
            "name": self.base_tuning_job_name,
            "trainable": "script",
            "fixed": estimator.hyperparameters(),
            "resources": {"workers_per_trial": estimator.instance_count},
            "script": script,
            "inputs": channels(inputs),
            "folder": str(Path.cwd()),
        }

    def wait(self) -> None:
        """Show how the search goes until its end; raises TuningError where it fails."""
        process = self._process
        if process is None:
            return
        said = ""
        try:
            for line in self._lines(process):
                sys.stdout.write(line)
                said = line.strip() or said
        except KeyboardInterrupt:
            # In a notebook the interrupt is for this process alone; the run is saved by it.
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
        if process.wait() != 0:
            raise TuningError(said.removeprefix("error: "))

    def describe(self) -> dict[str, Any]:
        """What SageMaker's `describe` says, its values with their types."""
        return describe(self._run)

    def stop_tuning_job(self) -> None:
        """End the search; its best model so far is exported."""
        store.request_stop(self._run)

    def best_training_job(self) -> str:
        """The name of the best trial; raises TuningError where none has a value, and says why."""
        run = self._run
        best = describe(run).get("BestTrainingJob")
        if best is None:
            raise TuningError(f"{run.name} has no best trial: {_why(run)}")
        return str(best["TrainingJobName"])

    def best_estimator(self) -> PyTorch:
        """The estimator with the best trial's values and its model."""
        best = describe(self._run).get("BestTrainingJob", {"TunedHyperParameters": {}})
        found = PyTorch(
            self.estimator.entry_point,
            source_dir=self.estimator.source_dir,
            hyperparameters={**self.estimator.hyperparameters(), **best["TunedHyperParameters"]},
            sagemaker_session=self.estimator.sagemaker_session,
        )
        found.model = self._model()
        return found

    def deploy(
        self,
        initial_instance_count: int = 1,
        instance_type: str | None = None,
        serializer: Serializer | None = None,
        deserializer: Deserializer | None = None,
        endpoint_name: str | None = None,
        **aws: Any,
    ) -> Predictor:
        """Serve the best trial's model on this machine."""
        ignore({"instance_type": instance_type, **aws})
        name = endpoint_name or self.best_training_job()
        self._predictor = deployed(self._model(), name, serializer, deserializer)
        return self._predictor

    def delete_endpoint(self) -> None:
        """End what `deploy` started."""
        if self._predictor is not None:
            self._predictor.delete_endpoint()

    def analytics(self) -> HyperparameterTuningJobAnalytics:
        """The trials as a table."""
        return HyperparameterTuningJobAnalytics(self._run)

    @classmethod
    def attach(
        cls, tuning_job_name: str, sagemaker_session: Session | None = None
    ) -> "HyperparameterTuner":
        """The tuner of an earlier run; raises StoreError where there is none of that name."""
        session = sagemaker_session or Session()
        run = store.find(session.runs, tuning_job_name)
        asked = store.experiment(run)
        estimator = PyTorch(
            store.written(run)["script"]["entry_point"],
            hyperparameters=asked.fixed,
            sagemaker_session=session,
        )
        objective = {mode: name for name, mode in MODES.items()}[asked.mode]
        tuner = cls(estimator, asked.metric, {}, objective_type=objective)
        tuner.latest_tuning_job = run.name
        return tuner

    @property
    def _runs(self) -> Path:
        return self.estimator.sagemaker_session.runs

    @property
    def _run(self) -> Run:
        if self.latest_tuning_job is None:
            raise TuningError("no search has begun: call fit() first")
        return store.read(self._runs / self.latest_tuning_job)

    def _model(self) -> Path:
        run = self._run
        if run.result["model"] is None:
            raise StoreError(f"{run.name} has no model: {_why(run)}")
        return run.folder / MODEL

    def _lines(self, process: "subprocess.Popen[bytes]") -> Iterator[str]:
        """What the search says, as it says it."""
        with Path(self._told.name).open(encoding="utf-8", errors="replace") as told:
            ended = False
            while not ended:
                # Asked before reading, so that the last words are read after the end.
                ended = process.poll() is not None
                yield from told
                if not ended:
                    time.sleep(POLL_S)

    def _wait_until_begun(self) -> None:
        """Until the run's folder is there, or the command has ended with its sentence."""
        process, name = self._process, self.latest_tuning_job
        assert process is not None  # fit just started it
        assert name is not None  # and named it
        while process.poll() is None and not store.exists(self._runs / name):
            time.sleep(POLL_S)


def _why(run: Run) -> str:
    """Why a run has no best trial or no model."""
    result = run.result
    failed = [trial["error"] for trial in result["trials"] if trial["error"]]
    reason = result["reason"] or (failed[0].split("\n", 1)[0] if failed else None)
    return f"it is {result['status']}" + (f": {reason}" if reason else "")
