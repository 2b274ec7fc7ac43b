"""One run of Ray Train's `TorchTrainer`, from which a trial takes report after report."""

import os
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from pyarrow.fs import FileSystem, LocalFileSystem, copy_files
from ray import train
from ray.exceptions import RayActorError
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2.api.config import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.util.queue import Empty, Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trainables.contract import Metrics, ProgramFailed, ProgramKilled, TrainableError

SETTINGS = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # also the interval at which reports are taken
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
}
"""Ray Train's settings, by the variables in which it reads them."""
TAKE_S = 0.5
END_S = 5.0
"""Seconds that Ray Train has to end by itself."""


@dataclass(frozen=True)
class Report:
    """A report of all workers."""

    metrics: Metrics
    """Those of rank 0."""
    checkpoint: train.Checkpoint | None
    """The checkpoint, as Ray Train keeps it."""
    controller: Any
    """Handle on Ray Train's controller, which ends the workers."""


@dataclass(frozen=True)
class ReportSender(train.UserCallback):
    """Sends each report from Ray Train's controller to the trial."""

    reports: Any

    def after_report(
        self, run_context: Any, metrics: list[Metrics], checkpoint: train.Checkpoint | None
    ) -> None:
        """Send a report; wait while the trial has not taken the one before."""
        controller = ray.get_runtime_context().current_actor
        self.reports.put(Report(metrics[0], checkpoint, controller))


@dataclass(frozen=True)
class TrainFolder:
    """A folder that all nodes of a trial reach, in which Ray Train keeps checkpoints."""

    path: str
    system: FileSystem

    def add(self, checkpoint: Path) -> train.Checkpoint:
        """Copy a checkpoint there, from where all workers can read it."""
        target = f"{self.path}/{checkpoint.name}-{secrets.token_hex(4)}"
        self.system.create_dir(target)
        copy_files(str(checkpoint), target, LocalFileSystem(), self.system)
        return train.Checkpoint(target, self.system)

    def remove(self) -> None:
        """Remove the folder, if it is there."""
        with suppress(FileNotFoundError):
            self.system.delete_dir(self.path)


class Trainer(TorchTrainer):
    """Ray Train's trainer without its detached actor that asks a dashboard for lost trainers.

    The run's own process removes what a lost one leaves: `app.cluster.orphaned_groups`.
    """

    def _create_default_callbacks(self) -> list[Any]:
        callbacks = super()._create_default_callbacks()  # type: ignore[misc]  # Ray Train V2
        return [one for one in callbacks if not isinstance(one, PlacementGroupCleanerCallback)]


def make_reports() -> Any:
    """Make the queue by which Ray Train's controller hands reports to the trial, on its node."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    # One report at a time: workers are at most three epochs ahead of the trial.
    return Queue(1, actor_options={"num_cpus": 0, "scheduling_strategy": here})


def make_trainer(
    loop: Callable[[], None], scaling: ScalingConfig, folder: TrainFolder, reports: Any
) -> Trainer:
    """Make the trainer that runs this loop in each of the workers."""
    os.environ.update({name: os.environ.get(name, value) for name, value in SETTINGS.items()})
    run_config: Any = RunConfig(  # not that of Ray's types, which are of its version 1
        # Each attempt has a name of its own: the trial says from which epoch it goes on.
        name=secrets.token_hex(8),
        storage_path=folder.path,
        storage_filesystem=folder.system,
        # The trial goes on by another attempt, and tells of the loss.
        failure_config=FailureConfig(max_preemption_failures=0),
        callbacks=[ReportSender(reports)],
        logging_config=LoggingConfig(log_level="ERROR"),
    )
    return Trainer(
        loop,
        torch_config=TorchConfig(backend="nccl" if scaling.num_gpus_per_worker >= 1 else "gloo"),
        scaling_config=scaling,
        run_config=run_config,
    )


class TrainerRun:
    """A trainer in a thread."""

    def __init__(self, trainer: Any, reports: Any) -> None:
        """Start the trainer, whose reports come by the queue."""
        self._trainer = trainer
        self._reports = reports
        self._controller: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._fit, name="trainer", daemon=True)
        self._thread.start()

    def next(self) -> Report | None:
        """Wait for the next report; None where the function has returned.

        Raises what it raised, or ProgramKilled where a worker was lost.
        """
        report: Report | None = self._reports.get()
        if report is not None:
            self._controller = report.controller
        elif self._error is not None:
            raise failure_of(self._error, self._trainer.scaling_config.num_workers) from None
        return report

    def end(self) -> None:
        """End all workers, and Ray Train with them."""
        if self._controller is not None:
            self._controller.abort.remote()
        until = time.monotonic() + END_S
        while self._thread.is_alive() and time.monotonic() < until:
            with suppress(Empty):  # the controller may be waiting to hand over a report
                self._reports.get(timeout=TAKE_S)
        self._reports.shutdown(force=True)

    def _fit(self) -> None:
        try:
            self._trainer.fit()
        except BaseException as error:
            self._error = error
        with suppress(RayActorError):  # the trial has ended meanwhile
            self._reports.put(None)


def failure_of(error: BaseException, count: int) -> Exception:
    """Return the exception for the trial, whose workers are so many: one was lost, or failed."""
    if isinstance(error, RayActorError):
        return ProgramKilled("Ray Train's controller was lost")
    failures: dict[int, Any] = getattr(error, "worker_failures", {})
    if not failures:
        return ProgramFailed(f"Ray Train: {' '.join(str(error).split())}")
    lost = (rank for rank in sorted(failures) if not isinstance(failures[rank], TrainableError))
    rank = next(lost, min(failures))
    failure, worker = failures[rank], f"worker {rank + 1} of {count}"
    if isinstance(failure, TrainableError):
        return type(failure)(f"{f'{worker}: ' if rank else ''}{failure}")
    health = getattr(failure, "health_check_failure", None)
    return ProgramKilled(f"{worker} was lost", getattr(health, "actor_id", None))
