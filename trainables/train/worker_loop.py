"""The function that each of Ray Train's workers runs: the user's, between messages to its trial."""

import logging
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import train
from ray.train.v2._internal.execution import context as ray_context

from trainables.contract import Config, Metrics, TrainableError
from trainables.errors import reason, trial_log

SETTLE_S = 30.0
"""Seconds in which a worker that lost touch with another one waits for Ray to see that one gone."""
LOST_TOUCH = re.compile("gloo|NCCL|connection|socket|timed? ?out", re.IGNORECASE)
"""Words of errors of torch.distributed by which a worker has lost touch with another one."""


@dataclass(frozen=True)
class Started:
    """A worker that has begun."""

    rank: int
    actor: Any


@dataclass(frozen=True)
class Report:
    """A report of all workers: the metrics of rank 0, and the checkpoint as Ray Train keeps it."""

    metrics: Metrics
    checkpoint: train.Checkpoint | None


@dataclass(frozen=True)
class Failure:
    """A worker's exception, in one sentence."""

    rank: int
    sentence: str
    is_refusal: bool
    """Whether it is a mistake that another attempt would repeat."""


class ReportSender(train.UserCallback):
    """Sends each report from Ray Train's controller to the trial."""

    def __init__(self, messages: Any) -> None:
        self._messages = messages

    def after_report(
        self, run_context: Any, metrics: list[Metrics], checkpoint: train.Checkpoint | None
    ) -> None:
        """Send a report; wait while the trial has not taken the one before."""
        self._messages.put(Report(metrics[0], checkpoint))


@dataclass(frozen=True)
class WorkerLoop:
    """The user's function with what a worker needs to run it."""

    trainable: Any
    """The class of the function, which carries its source to the worker."""
    config: Config
    messages: Any
    checkpoint: train.Checkpoint | None
    """The checkpoint that `ray.train.get_checkpoint()` gives first."""
    log: Path | None
    """The trial's log, where this node shares it."""

    def __call__(self) -> None:
        """Run the function; its exception is told to the trial and raised for Ray Train."""
        rank = train.get_context().get_world_rank()
        logging.getLogger(ray_context.__file__).setLevel(logging.WARNING)  # a line each report
        if self.log is not None:
            trial_log.write_to(self.log)
            trial_log.print_whole_lines()
        # Ray Train itself would go on from its own last checkpoint, of which no epoch may tell.
        ray_context.get_train_context().checkpoint = self.checkpoint
        self.messages.put(Started(rank, ray.get_runtime_context().current_actor))
        try:
            self.trainable.function(dict(self.config))
        except BaseException as error:
            self._tell(rank, error)
            raise
        finally:
            trial_log.flush()

    def _tell(self, rank: int, error: BaseException) -> None:
        if not isinstance(error, TrainableError):
            trial_log.print_trace()
        if isinstance(error, RuntimeError) and LOST_TOUCH.search(str(error)):
            time.sleep(SETTLE_S)  # and is ended meanwhile, where the other one is gone
        self.messages.put(Failure(rank, reason.describe(error), isinstance(error, TrainableError)))
