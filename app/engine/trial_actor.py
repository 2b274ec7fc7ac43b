"""Ray's actor for trials: it holds the user's trainable, resumes it and reports its failures."""

import contextlib
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar, cast

from ray.air.constants import TRAINING_ITERATION
from ray.tune import Trainable
from ray.tune.result import TRIAL_INFO

from app.engine.hang_guard import time_limit
from app.engine.trial_errors import FAILURES, log_trace, process_error
from app.experiment.result_keys import BACK, CONTROL, ENDED, FAILURE, LEFT_OUT, REFUSED, REPORT
from app.storage.artifact_sync import TrialArtifacts
from app.storage.remote_folder import StorageError
from app.storage.trial_files import log_path, trial_folder
from app.storage.trial_storage import SharedTrialStorage, TrialStorage
from trainables.contract import (
    Config,
    Metrics,
    TrainableError,
    read_labels,
    read_output_meaning,
)
from trainables.errors import reason, trial_log
from trainables.errors.disk_full import find_disk_full
from trainables.report import CheckedReport, check_report

STORAGE = "__storage__"
"""Keyword argument that carries the run's remote storage to a trial; absent for local runs."""
COUNTERS = (
    "_iteration",
    "_time_total",
    "_timesteps_total",
    "_episodes_total",
    "_time_since_restore",
    "_timesteps_since_restore",
    "_iterations_since_restore",
    "_last_result",
    "_restored",
)
"""Attributes of a Trainable in which Ray counts; those of the actor are copied to the user's."""

T = TypeVar("T")


@dataclass(frozen=True)
class Terms:
    """Settings of all trials of a run."""

    metric: str
    """The objective, which each step must report."""
    folder: Path
    """The run's folder, below which checkpoints are named; on a node that has none, another one."""
    logged: bool = False
    """Whether a trial's output goes to a file of its own below the run's folder."""
    retried: bool = False
    """Whether an exception ends the process, for Tune to go on from the last checkpoint."""
    step_timeout: float | None = None
    """Seconds after which a step, or another of the trainable's methods, counts as hung, and ends
    the process."""


def trial_actor(trainable: type[Trainable], terms: Terms) -> "type[TrialActor]":
    """Make the class that Ray starts for trials of a trainable, under the trainable's name.

    A trial starts from the checkpoint that its configuration names. What it raises, a missing
    objective or one that is not finite ends the trial with a sentence, and its process trains
    the next one: an exception is the trial's, the loss of a process the machine's.
    """
    names = {"trainable_class": trainable, "terms": terms}
    return cast("type[TrialActor]", type(trainable.__name__, (TrialActor,), names))


class TrialActor(Trainable):
    """Forwards Ray's calls to the trainable that it holds."""

    trainable_class: ClassVar[type[Trainable]]
    terms: ClassVar[Terms]

    trainable: Any = None
    """The user's object, once it is being set up."""
    _artifacts: TrialArtifacts | None = None
    """The files of the trial that this process has."""
    _is_set_up = False
    _failure: str | None = None
    """Why the trial failed, if it did."""
    _refusal: str | None = None
    """Why no trial of the run can do what the class says, if so."""
    _latest = math.nan
    """The objective that was reported last."""
    _saved: Sequence[tuple[int, str]] = ()
    """Checkpoints from which the trial may go on, by epoch and name, the latest first."""
    _back: Mapping[str, Any] = MappingProxyType({})
    """Lost checkpoints, as the next result names them."""

    def setup(self, config: Config, **shared: Any) -> None:
        """Create the trainable for the first trial of this process."""
        control = config.pop(CONTROL)
        self.config = config
        self._run: TrialStorage = shared.pop(STORAGE, SharedTrialStorage(self.terms.folder))
        self._open(control, self._storage)
        self._shared = self._run.localize(shared)
        self._attempt(lambda: self._create(config))
        if not self._failure:
            self._refusal = self._check_labels()
        self._resume(control)

    def reset(self, new_config: Config, storage: Any = None) -> bool:
        """Take the next trial; False where that needs a process of its own."""
        self._failure, self._latest = None, math.nan
        control = new_config.pop(CONTROL)
        self._open(control, storage)
        reset: Callable[..., bool] = super().reset
        is_reset = self._attempt(lambda: reset(new_config, storage))
        self._resume(control)
        return self._failure is not None or bool(is_reset)

    def reset_config(self, new_config: Config) -> bool:
        """Reset the trainable, or create another one where the last was not set up."""
        if not self._is_set_up:
            self._create(new_config)
            return True
        self._place_trainable()
        with self._time_limit():
            config = {**new_config, TRIAL_INFO: self._trial_info}
            return bool(self._counted().reset(config, self._storage))

    def step(self) -> Metrics:
        """Let the trainable do a step; a failure is a result that completes the trial."""
        metric = self.terms.metric
        if self._refusal:
            return {"done": True, metric: math.nan, FAILURE: self._refusal, REFUSED: True}
        reported: CheckedReport | None = None
        if not self._failure:
            with self._time_limit():
                reported = self._attempt(self._report)
        trial_log.flush()
        if not (reported and reported.metrics):
            self._files.send_last()
        back, self._back = self._back, {}
        if reported is None:
            return {"done": True, metric: math.nan, FAILURE: self._failure, **back}
        if not reported.metrics:
            return {
                "done": True,
                ENDED: True,
                TRAINING_ITERATION: self._iteration,
                metric: self._latest,
            }
        self._latest = reported.metrics[metric]
        return {**_result(reported, metric), **back}

    def log_result(self, result: Metrics) -> None:
        """Let the trainable log a result in its own way."""
        if self._is_set_up:
            self._counted().log_result(result)

    def save(self, checkpoint_dir: str | None = None) -> Any:
        """Save a checkpoint that survives a loss of power, and of this node behind a URI."""
        try:
            saved = super().save(checkpoint_dir)
            assert saved.checkpoint is not None  # a class gives one whenever it saves
            # The journal counts the epoch from now on.
            self._files.keep_checkpoint(
                Path(saved.checkpoint.path), is_counted=REPORT in saved.metrics
            )
            return saved
        except FAILURES as error:
            log_trace(error)
            ends = process_error(error, self.terms.folder, retried=self.terms.retried)
            raise ends or reason.TrialFailure(reason.describe(error)) from None

    def save_checkpoint(self, checkpoint_dir: str) -> Any:
        """Let the trainable save its state."""
        # What failed may have no state, and its checkpoint is thrown away.
        if self._failure or self._refusal:
            return None
        try:
            with self._time_limit():
                return self._counted().save_checkpoint(checkpoint_dir)
        except Exception as error:
            # Asked while what was written of it is still there.
            if full := find_disk_full(error, Path(checkpoint_dir)):
                raise full from error
            raise

    def restore(self, checkpoint_path: Any) -> None:
        """Go on from a checkpoint of Tune's, which has it with the metrics of its epoch."""
        path = Path(checkpoint_path.checkpoint.path).absolute()
        epoch, name = (
            checkpoint_path.metrics.get(TRAINING_ITERATION, 0),
            str(Path(*path.parts[-3:])),
        )
        if (epoch, name) not in self._saved[:1]:  # from which this process began
            latest = (epoch, self._files.checkpoint_name(path))
            self._load_first([latest, *(saved for saved in self._saved if saved[0] < epoch)])

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Let the trainable load its state."""
        with self._time_limit():
            self._counted().load_checkpoint(checkpoint)

    def cleanup(self) -> None:
        """Let the trainable leave what it holds, and leave the trial's files."""
        try:
            if self.trainable is not None:
                trainable = self._counted()
                # As Ray does: `stop` calls `cleanup`, and some classes have their own.
                (trainable.stop if self._is_set_up else trainable.cleanup)()
        finally:
            if self._artifacts is not None:
                self._artifacts.leave_process()

    @property
    def _files(self) -> TrialArtifacts:
        assert self._artifacts is not None  # a trial has begun
        return self._artifacts

    def _open(self, control: Mapping[str, Any], storage: Any) -> None:
        """Take over the files of a trial, once those of the one before are left."""
        if self._artifacts is not None:
            self._artifacts.leave_process()
        self._artifacts = self._run.artifacts(control["trial_id"])
        self._artifacts.open()
        self._run.redirect(storage)
        self._control = control
        if self.terms.logged:
            _write_to(log_path(self._run.folder, control["trial_id"]))

    def _place_trainable(self) -> None:
        """Tell the trainable where its trial's files are."""
        folder, trial_id = self._run.folder, self._control["trial_id"]
        self.trainable.trial_folder = trial_folder(folder, trial_id)
        self.trainable.trial_storage = self._run.kept_by_node
        if self.terms.logged:
            self.trainable.trial_log = log_path(folder, trial_id)

    def _create(self, config: Config) -> None:
        """Create the user's object, which sets itself up with what trials share."""
        self._is_set_up = False
        if self.trainable is not None:  # Two at a time may not fit into memory.
            vars(self.trainable).clear()
        self.trainable = self.trainable_class.__new__(self.trainable_class)
        self._place_trainable()
        # Its own reset_config may call setup, which is to find the shared data again.
        self.trainable.setup = partial(self.trainable.setup, **self._shared)
        with self._time_limit():
            self.trainable.__init__({**config, TRIAL_INFO: self._trial_info}, self._storage)
        self._is_set_up = True

    def _counted(self) -> Any:
        """The trainable, with Ray's counters as they are by now."""
        for name in COUNTERS:
            setattr(self.trainable, name, getattr(self, name))
        return self.trainable

    def _check_labels(self) -> str | None:
        """Say why the class's labels do not fit its outputs; None where they do."""
        try:
            with self._time_limit():
                if hasattr(self.trainable, "model"):
                    # It imports torch, which a class without a network may do without.
                    from trainables.check.outputs import check_outputs

                    check_outputs(self.trainable)
                else:
                    read_labels(self.trainable)
                    read_output_meaning(self.trainable)
        except TrainableError as error:
            return str(error)
        return None

    def _report(self) -> CheckedReport:
        metrics = self._counted().step()
        self._iteration = self.trainable._iteration  # which may count anew
        by = getattr(self.trainable, "reports_by", "step()")
        return check_report(metrics, self.terms.metric, epoch=self._iteration + 1, by=by)

    def _resume(self, control: Mapping[str, Any]) -> None:
        self._saved, self._back = control["checkpoints"], {}
        if self._saved and not self._failure:
            self._attempt(lambda: self._load_first(self._saved))

    def _load_first(self, saved: Sequence[tuple[int, str]]) -> None:
        """Go on from the first that can be read, or begin; the next result says which."""
        why, self._back = "", {}
        for epoch, name in saved:
            problem = self._load(epoch, name)
            if problem is None:
                break
            why = why or f"its checkpoint of epoch {epoch} {problem}"
        else:
            self._iteration = 0
        # A function may have reported its last checkpoint with an earlier epoch, or none.
        last = getattr(self.trainable, "last_checkpoint_reports", self._iteration)
        if last < self._iteration:
            since = f" after epoch {last}" if last else ""
            why = why or f"{self.trainable_class.__name__}() reported no checkpoint{since}"
            self._iteration = last
        if why:
            self._back = {BACK: {"epoch": self._iteration, "reason": why}}

    def _load(self, epoch: int, name: str) -> str | None:
        """Go on from a checkpoint; gives what is wrong with it where that cannot be."""
        problem = None
        with self._files.checkpoint(name) as folder:
            try:
                if folder is None:
                    problem = "is gone"
                else:
                    super().restore(str(folder))
            except (MemoryError, StorageError):
                raise
            except Exception as error:
                trial_log.print_trace()
                problem = f"cannot be read ({reason.describe(error)})"
                self._begin_anew()
        if problem is not None and hasattr(self.trainable, "count_from"):
            self.trainable.count_from(epoch)
            problem = None
        self._iteration = epoch
        return problem

    def _begin_anew(self) -> None:
        """Set the trial up afresh after a checkpoint that may have been read in part."""
        can_reset = self.trainable_class.reset_config is not Trainable.reset_config
        if not can_reset or not self.reset_config(dict(self.config)):
            with contextlib.suppress(Exception):
                self.trainable.cleanup()
            self._create(self.config)

    def _attempt(self, act: Callable[[], T]) -> T | None:
        """Do what may raise; what it raises is the trial's failure, or ends this process."""
        try:
            return act()
        except FAILURES as error:
            log_trace(error)
            if ends := process_error(error, self.terms.folder, retried=self.terms.retried):
                # The next process may be there before this one has ended.
                self._files.stop_sending()
                raise ends from None
            self._failure = reason.describe(error)
            return None

    def _time_limit(self) -> contextlib.AbstractContextManager[None]:
        return time_limit(self.terms.step_timeout)


def _result(reported: CheckedReport, metric: str) -> Metrics:
    """The result that Tune is given of an epoch."""
    result = {metric: reported.metrics[metric], REPORT: reported.metrics}
    if reported.left_out:
        result[LEFT_OUT] = dict(reported.left_out)
    return {**result, "done": True, ENDED: True} if reported.is_last else result


def _write_to(path: Path) -> None:
    """Let what this process and its libraries print go to the trial's own file from here on."""
    # The log is for what the trainable has to say, not for Ray's advice and checkpoints.
    for chatty in ("ray.train._internal.storage", "ray.tune.trainable"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    reason.log_exits()
    trial_log.write_to(path)
