"""One run of Ray Train's `TorchTrainer`, from which a trial takes report after report."""

import os
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from pyarrow.fs import FileSystem, LocalFileSystem, copy_files
from ray.exceptions import RayActorError
from ray.train import Checkpoint
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2.api.config import LoggingConfig, RunConfig, ScalingConfig
from ray.util.queue import Empty, Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trainables.contract import ProgramFailed, ProgramKilled, TrainableError
from trainables.train.worker_loop import Failure, Report, ReportSender, Started, WorkerLoop

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
class WorkerGroup:
    """The workers of a trial."""

    count: int
    cpus: float
    gpus: float

    def scaling(self) -> Any:
        """Return Ray Train's words for it."""
        each = {"CPU": self.cpus, "GPU": self.gpus} if self.gpus else {"CPU": self.cpus}
        return ScalingConfig(
            num_workers=self.count, resources_per_worker=each, use_gpu=self.gpus > 0
        )

    def backend(self) -> TorchConfig:
        """Return NCCL where each worker has a whole GPU, else Gloo."""
        return TorchConfig(backend="nccl" if self.gpus >= 1 else "gloo")


@dataclass(frozen=True)
class TrainFolder:
    """A folder that all nodes of a trial reach, in which Ray Train keeps checkpoints."""

    path: str
    system: FileSystem

    def add(self, checkpoint: Path) -> Checkpoint:
        """Copy a checkpoint there, from where all workers can read it."""
        target = f"{self.path}/{checkpoint.name}-{secrets.token_hex(4)}"
        self.system.create_dir(target)
        copy_files(str(checkpoint), target, LocalFileSystem(), self.system)
        return Checkpoint(target, self.system)

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


def make_messages() -> Any:
    """Make the queue by which workers and Ray Train's controller tell the trial, on its node."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    # One report at a time: workers are at most three epochs ahead of the trial.
    return Queue(1, actor_options={"num_cpus": 0, "scheduling_strategy": here})


def make_trainer(loop: WorkerLoop, group: WorkerGroup, folder: TrainFolder) -> Trainer:
    """Make the trainer that runs this loop in each of the workers."""
    os.environ.update({name: os.environ.get(name, value) for name, value in SETTINGS.items()})
    run_config: Any = RunConfig(  # not that of Ray's types, which are of its version 1
        # Each attempt has a name of its own: the trial says from which epoch it goes on.
        name=secrets.token_hex(8),
        storage_path=folder.path,
        storage_filesystem=folder.system,
        callbacks=[ReportSender(loop.messages)],
        logging_config=LoggingConfig(log_level="ERROR"),
    )
    return Trainer(
        loop.__call__,
        torch_config=group.backend(),
        scaling_config=group.scaling(),
        run_config=run_config,
    )


class TrainerRun:
    """A trainer in a thread."""

    def __init__(self, trainer: Any, messages: Any, workers: int) -> None:
        """Start the trainer, which has that many workers and tells of them by the queue."""
        self._trainer = trainer
        self._messages = messages
        self._count = workers
        self._workers: dict[int, Any] = {}
        self._failures: list[Failure] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._fit, name="trainer", daemon=True)
        self._thread.start()

    def next(self) -> Report | None:
        """Wait for the next report; None where the function has returned.

        Raises what it raised, or ProgramKilled where a worker was lost.
        """
        while True:
            is_over = not self._thread.is_alive()
            try:
                message = self._messages.get(timeout=0 if is_over else TAKE_S)
            except Empty:
                if not is_over:
                    continue
                if self._error is not None:
                    raise failure_of(
                        self._error, self._failures, self._workers, self._count
                    ) from None
                return None
            if isinstance(message, Report):
                return message
            self._note(message)

    def end(self) -> None:
        """End all workers, and Ray Train with them."""
        until = time.monotonic() + END_S
        while self._thread.is_alive() and time.monotonic() < until:
            for worker in self._workers.values():
                ray.kill(worker)
            try:  # the controller may be waiting to hand over a report
                self._note(self._messages.get(timeout=TAKE_S))
            except Empty:
                continue
        self._messages.shutdown(force=True)

    def _fit(self) -> None:
        try:
            self._trainer.fit()
        except BaseException as error:
            self._error = error

    def _note(self, message: Any) -> None:
        if isinstance(message, Started):
            self._workers[message.rank] = message.actor
        elif isinstance(message, Failure):
            self._failures.append(message)


def failure_of(
    error: BaseException, failures: Sequence[Failure], workers: Mapping[int, Any], count: int
) -> Exception:
    """Return the exception for the trial: a worker was lost, or the first one that failed.

    Args:
        error: Ray Train's.
        failures: What workers told, in that order.
        workers: Handles on the workers that began, by rank.
        count: The number of workers.
    """
    if isinstance(error, RayActorError):
        return ProgramKilled("Ray Train's controller was lost")
    told = {failure.rank for failure in failures}
    lost = sorted(set(getattr(error, "worker_failures", ())) - told)
    if lost:
        worker = workers.get(lost[0])
        actor_id = None if worker is None else worker._actor_id.hex()
        return ProgramKilled(f"worker {lost[0] + 1} of {count} was lost", actor_id)
    if not failures:
        return ProgramFailed(f"Ray Train: {' '.join(str(error).split())}")
    first = failures[0]
    kind = TrainableError if first.is_refusal else ProgramFailed
    return kind(f"{f'worker {first.rank + 1} of {count}: ' if first.rank else ''}{first.sentence}")
