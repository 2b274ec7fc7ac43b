"""Session of a function's trial, in the place of Ray's own: reports go to the trial's steps."""

import queue
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray import train
from ray.train._internal import session as ray_session
from ray.train.v2._internal.execution import train_fn_utils

from trainables.contract import Metrics, TrainableError

RAY: Any = ray_session
"""Module where Ray looks for the session of a process; it has no public way to set one."""
TRAIN: Any = train_fn_utils
"""Module where `ray.train` looks for the object that its calls go to."""


@dataclass(frozen=True)
class Report:
    """A function's report."""

    metrics: Metrics
    checkpoint: train.Checkpoint | None = None


class Session:
    """Session of a function's trial, in the place of Ray's own, which stores checkpoints itself.

    Public names are those that `ray.tune` uses; `take`, `wait` and `end` are for the runner.
    """

    world_rank = 0
    """Rank of the only worker; with None, as in Tune's own trials, `ray.train` refuses calls."""

    def __init__(
        self,
        trial_id: str,
        trial_name: str,
        trial_dir: str,
        trial_resources: Any,
        loaded_checkpoint: train.Checkpoint | None,
    ) -> None:
        self.trial_id = trial_id
        self.trial_name = trial_name
        self.trial_dir = trial_dir
        self.trial_resources = trial_resources
        self.loaded_checkpoint = loaded_checkpoint
        self.experiment_name = ""
        self._results: queue.Queue[Report | BaseException | None] = queue.Queue()
        self._wanted = threading.Semaphore(0)
        self._is_over = False

    def report(
        self, metrics: Mapping[str, Any], checkpoint: train.Checkpoint | None = None
    ) -> None:
        """Report metrics, and wait until the next step is asked for.

        Raises TrainableError where an argument is of another type.
        """
        if not isinstance(metrics, Mapping):
            raise TrainableError(f"tune.report() takes a dictionary of metrics, got {metrics!r}")
        if checkpoint is not None and not isinstance(checkpoint, train.Checkpoint):
            raise TrainableError(
                f"tune.report(): checkpoint must be a tune.Checkpoint, got {checkpoint!r}; make one"
                " by tune.Checkpoint.from_directory(folder)"
            )
        if checkpoint is not None:
            self.loaded_checkpoint = checkpoint
        self.put(Report(dict(metrics), checkpoint))
        self.wait()

    def put(self, result: Report | BaseException | None) -> None:
        """Hand over a report, an exception of the function, or None for its return."""
        self._results.put(result)

    def take(self) -> Report | BaseException | None:
        """Let the function go on, and wait for what it hands over."""
        self._wanted.release()
        return self._results.get()

    def wait(self) -> None:
        """Wait, in the function's thread, for the next step; SystemExit where none will come."""
        if not self._is_over:
            self._wanted.acquire()
        if self._is_over:
            raise SystemExit

    def end(self) -> None:
        """Let the function leave the report in which it waits, to end."""
        self._is_over = True
        self._wanted.release()


class TrainCalls(train_fn_utils.LocalTrainFnUtils):
    """Implementation of `ray.train`'s calls in a trial, which is their only worker."""

    def __init__(self, session: Session) -> None:
        super().__init__(session.experiment_name)
        self._session = session

    def report(
        self,
        metrics: dict[str, Any],
        checkpoint: train.Checkpoint | None = None,
        *others: Any,
        **named: Any,
    ) -> None:
        """Report as `ray.tune.report` does.

        Raises TrainableError for arguments that would change how Ray Train keeps a checkpoint.
        """
        for name in ("validation", "checkpoint_upload_fn"):
            if named.get(name):
                raise TrainableError(
                    f"train.report(): a trial keeps its checkpoints itself and has no {name};"
                    " report metrics and a checkpoint"
                )
        self._session.report(metrics, checkpoint)

    def get_checkpoint(self) -> train.Checkpoint | None:
        """Return the checkpoint that the trial resumed from, or that it reported last."""
        return self._session.loaded_checkpoint
