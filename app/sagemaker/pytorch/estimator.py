"""`PyTorch` by SageMaker's name: a training script with its hyperparameters and resources."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.api import Run, StoreError
from app.experiment.script_table import known_values
from app.run.commands import show_command
from app.sagemaker.analytics import TrainingJobAnalytics
from app.sagemaker.aws import ignore, warn_once
from app.sagemaker.inputs import Inputs, channels
from app.sagemaker.job import Job, TuningError, timestamp_name
from app.sagemaker.predictor import Predictor
from app.sagemaker.pytorch.model import PyTorchModel
from app.sagemaker.session import Session
from app.sagemaker.trials import trial_of
from trainables.contract import EXIT_STATUS
from trainables.script.arguments import TORCHRUN

BY_TORCHRUN = ("torch_distributed", "pytorchddp")
"""Distributions whose processes `torchrun` starts."""
WITH_GPUS = re.compile(r"local_gpu|ml\.[pg]\d.*")
"""Instance types whose trials use the machine's GPUs; trials of other types use none."""
OF_MODEL = (
    *("model_server_workers", "role", "vpc_config_override", "entry_point", "source_dir"),
    *("dependencies", "name", "env", "predictor_cls", "framework_version", "py_version"),
)
"""Arguments of `deploy` that `create_model` takes."""
JOB_NAME = "sagemaker_job_name"
"""Hyperparameter of SageMaker's own, which scripts do not receive."""


class PyTorch:
    """A training script; each training of it is a run."""

    def __init__(
        self,
        entry_point: str | Path,
        framework_version: str | None = None,
        py_version: str | None = None,
        source_dir: str | Path | None = None,
        hyperparameters: Mapping[str, Any] | None = None,
        image_uri: str | None = None,
        distribution: Any = None,
        *,
        role: str | None = None,
        instance_count: int | None = None,
        train_instance_count: int | None = None,
        instance_type: str | None = None,
        train_instance_type: str | None = None,
        metric_definitions: Sequence[Mapping[str, str]] | None = None,
        environment: Mapping[str, str] | None = None,
        base_job_name: str | None = None,
        sagemaker_session: Session | None = None,
        **aws: Any,
    ) -> None:
        """Take SageMaker's arguments; instances are workers, their type says if they have GPUs."""
        if aws.get("dependencies"):
            raise TuningError("dependencies: put them below source_dir, which goes with the script")
        ignore(
            {
                "framework_version": framework_version,
                "py_version": py_version,
                "image_uri": image_uri,
                **aws,
            }
        )
        self.entry_point = str(entry_point)
        self.source_dir = None if source_dir is None else str(source_dir)
        self.role = role
        self.instance_count = instance_count or train_instance_count or 1
        self.instance_type = instance_type or train_instance_type
        self.metric_definitions = list(metric_definitions or ())
        self.environment = dict(environment or {})
        self.base_job_name = base_job_name or "pytorch-training"
        self.sagemaker_session = sagemaker_session or Session()
        self.latest_training_job: Job | None = None
        self._job_name: str | None = None
        self._hyperparameters = {
            **_torchrun_hyperparameter(distribution),
            **(hyperparameters or {}),
        }

    def hyperparameters(self) -> dict[str, Any]:
        """Hyperparameters of every trial, with their types."""
        return dict(self._hyperparameters)

    def set_hyperparameters(self, **values: Any) -> None:
        """Add hyperparameters, or change their values."""
        self._hyperparameters.update(values)

    def fit(
        self,
        inputs: Inputs = None,
        wait: bool = True,
        logs: Any = "All",
        job_name: str | None = None,
        experiment_config: Any = None,
    ) -> None:
        """Train once; the first metric is the objective.

        Raises TuningError with the training's message if it fails.
        """
        ignore({"experiment_config": experiment_config})
        name = job_name or timestamp_name(self.base_job_name)
        metrics = self.metric_definitions
        experiment = {
            **self.tables(inputs, metrics),
            "name": self.base_job_name,
            "metric": metrics[0]["Name"] if metrics else EXIT_STATUS,
            "mode": "min",
            "search": "random",
            "num_samples": 1,
            "max_concurrent": 1,
            "space": {JOB_NAME: {"type": "categorical", "values": [name]}},
        }
        session = self.sagemaker_session
        started = Job.start(session, name, experiment)
        self.latest_training_job, self._job_name = started, name
        if wait:
            started.wait()

    def tables(self, inputs: Inputs, metrics: Sequence[Mapping[str, str]]) -> dict[str, Any]:
        """Make the experiment's tables of the script, its inputs and its resources."""
        script = {
            "entry_point": self.entry_point,
            "metrics": [_metric(definition) for definition in metrics],
            "environment": self.environment,
        }
        if self.source_dir is not None:
            script["source_dir"] = _local(self.source_dir)
        return {
            "trainable": "script",
            "fixed": self.hyperparameters(),
            "script": script,
            "inputs": channels(inputs),
            "resources": resources(self.instance_count, self.instance_type),
            "folder": str(Path.cwd()),
        }

    @property
    def model_data(self) -> str:
        """Folder of the trained model; raises StoreError if there is none."""
        if self._job_name is None:
            raise StoreError(
                f"{self.entry_point}: has no model; call fit(), or deploy what a tuner found best"
            )
        run, trial = trial_of(self.sagemaker_session, self._job_name)
        return str(run.model_of(trial.trial_id))

    def create_model(
        self,
        model_server_workers: int | None = None,
        role: str | None = None,
        vpc_config_override: Any = None,
        entry_point: str | None = None,
        source_dir: str | None = None,
        dependencies: Any = None,
        **more: Any,
    ) -> PyTorchModel:
        """Make the trained model, to be deployed with its script's handlers or those named here."""
        arguments = {
            "model_server_workers": model_server_workers,
            "vpc_config": vpc_config_override,
            "dependencies": dependencies,
            "name": self._job_name,
            "sagemaker_session": self.sagemaker_session,
        }
        if entry_point is not None and source_dir is None and self.source_dir is not None:
            source_dir = self.source_dir
        return PyTorchModel(
            self.model_data,
            role or self.role,
            entry_point,
            **{"source_dir": source_dir, **arguments, **more},
        )

    def deploy(
        self,
        initial_instance_count: int = 1,
        instance_type: str | None = None,
        *rest: Any,
        **more: Any,
    ) -> Predictor:
        """Serve the trained model on this machine; further arguments are `PyTorchModel`'s.

        Raises StoreError if there is no model.
        """
        of_model = {name: more.pop(name) for name in OF_MODEL if name in more}
        model = self.create_model(**of_model)
        return model.deploy(initial_instance_count, instance_type, *rest, **more)

    @property
    def training_job_analytics(self) -> TrainingJobAnalytics:
        """Metrics of the training, by time."""
        if self._job_name is None:
            raise TuningError("no training has begun: call fit() first")
        return TrainingJobAnalytics(self._job_name, None, self.sagemaker_session)

    @classmethod
    def attach(
        cls, training_job_name: str, sagemaker_session: Session | None = None, **aws: Any
    ) -> "PyTorch":
        """Find the estimator of an earlier training or of a tuner's trial, with its model.

        Raises StoreError if there is none of that name.
        """
        ignore(aws)
        session = sagemaker_session or Session()
        run, trial = trial_of(session, training_job_name)
        found = estimator_of(run, session)
        values = {name: v for name, v in trial.config.items() if name != JOB_NAME}
        found.set_hyperparameters(**values)
        found._job_name = training_job_name
        found.latest_training_job = Job(run)
        return found


def estimator_of(run: Run, session: Session) -> PyTorch:
    """Make the estimator of a run's experiment; raises StoreError if that tunes no script."""
    experiment = run.experiment
    script = experiment.script
    if script is None:
        raise StoreError(
            f"{run.name}: tunes {experiment.trainable!r}, and an estimator is for scripts;"
            f" look at it by {show_command(run.path)}"
        )
    return PyTorch(
        script.entry_point,
        source_dir=script.source_dir,
        hyperparameters=experiment.fixed,
        environment=known_values(script.environment),
        metric_definitions=[
            {"Name": metric.name, "Regex": metric.regex} for metric in script.metrics
        ],
        instance_count=experiment.resources.workers_per_trial,
        sagemaker_session=session,
    )


def resources(count: int, kind: str | None) -> dict[str, Any]:
    """Translate instances to the experiment's resources of a trial."""
    table: dict[str, Any] = {}
    if count > 1:
        table["workers_per_trial"] = count
    if kind is not None and not WITH_GPUS.fullmatch(kind):
        table["gpus_per_trial"] = 0
        warn_once(
            f"instance_type: {kind!r} has no GPU, so trials use none; ml.g… uses the GPUs here"
        )
    elif kind is not None:
        warn_once(f"instance_type: {kind!r} has GPUs, so trials use the GPUs here")
    return table


def _metric(definition: Mapping[str, str]) -> dict[str, str]:
    if not {"Name", "Regex"} <= set(definition):
        raise TuningError(
            f"metric_definitions: each needs Name and Regex, got {dict(definition)!r}"
        )
    return {"name": definition["Name"], "regex": definition["Regex"]}


def _torchrun_hyperparameter(distribution: Mapping[str, Any] | None) -> dict[str, Any]:
    """Hyperparameter that starts the script by `torchrun`, if the distribution asks for it."""
    enabled = [name for name, options in (distribution or {}).items() if options.get("enabled")]
    for name in enabled:
        if name not in BY_TORCHRUN:
            raise TuningError(
                f"distribution: {name!r} is not available here; choose from"
                f" {', '.join(BY_TORCHRUN)}, or let the script begin its own process group"
            )
    return {TORCHRUN: True} if enabled else {}


def _local(source_dir: str) -> str:
    if "://" in source_dir:
        raise TuningError(f"source_dir: {source_dir} is not a folder of this machine")
    return source_dir
