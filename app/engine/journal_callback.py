"""The callback by which Tune's events come into the journal, and unneeded checkpoints go."""

import functools
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from ray.tune import Callback, Checkpoint
from ray.tune.experiment import Trial as TuneTrial

from app.engine import failure_reader
from app.engine.artifact_recovery import ArtifactRecovery
from app.experiment.result_keys import BACK, CONTROL, ENDED, FAILURE, LEFT_OUT, REFUSED, REPORT
from app.experiment.schema import Experiment
from app.run import store
from app.run.errors import JournalError, RefusedError
from app.run.journal import Journal
from app.run.status import TrialStatus
from app.run.trial import Trial
from app.storage.remote_folder import StorageError
from trainables.contract import PromiseError, TrainableError

LOST_PROCESSES = 3
"""Number of times that a trial is restarted after a lost process, unless an experiment says."""
LOST_NODES = 10
"""Number of nodes that a trial may lose before the next loss ends it."""

Hook = TypeVar("Hook", bound=Callable[..., None])


def _keeps_error(hook: Hook) -> Hook:
    """Keep what a hook raises for the end of Tune's step: Tune would log it and go on."""

    @functools.wraps(hook)
    def call(self: "JournalCallback", *arguments: Any, **named: Any) -> None:
        try:
            hook(self, *arguments, **named)
        except Exception as error:
            if self.error is None:
                self.error = error

    return cast("Hook", call)


def _drop(text: str) -> None:
    """Say nothing."""


class JournalCallback(Callback):
    """Writes every event of an attempt to the journal, and then calls the listener.

    An exception in any of that ends the run at the end of Tune's step.
    """

    def __init__(
        self,
        journal: Journal,
        experiment: Experiment,
        recovery: ArtifactRecovery,
        listen: Callable[[str, Trial], None],
        check: Callable[[], None],
        say: Callable[[str], None] = _drop,
    ) -> None:
        """Write to a journal.

        Args:
            journal: The run's.
            experiment: The run's.
            recovery: Sends what the processes of trials leave on nodes.
            listen: Called with each event's name and trial.
            check: Raises Interrupted where a signal came.
            say: Shows a line.
        """
        self.journal = journal
        self.recovery = recovery
        self.experiment = experiment
        self.listen = listen
        self.check = check
        self.error: Exception | None = None
        """The first exception of a hook."""
        self.say = say
        self._named: set[str] = set()
        """Names of reported values that no curve can hold, of which the user knows."""
        self._read: dict[str, int] = {}
        """Size in bytes of a trial's log when its process was last lost."""

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks beside its state; the journal is what a run resumes from.
        return {}

    @_keeps_error
    def on_trial_start(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """Record that a trial starts, or starts again after its process was lost."""
        control = trial.config[CONTROL]
        self.recovery.start(control["trial_id"], trial.temporary_state.ray_actor)
        space = self.experiment.space
        config = {name: value for name, value in trial.config.items() if name in space}
        has_own_seed = self.experiment.repeats > 1 and self.experiment.kind.gives_seeds
        seed = {"seed": trial.config["seed"]} if has_own_seed else {}
        self._write("trial", trial, config=config, leg=control["attempt"], **seed)

    @_keeps_error
    def on_trial_result(
        self,
        iteration: int,
        trials: list[TuneTrial],
        trial: TuneTrial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        """Record that a trial whose checkpoint could not be read went on from an earlier one."""
        if BACK in result:
            self._write("back", trial, **result[BACK])

    @_keeps_error
    def on_checkpoint(
        self,
        iteration: int,
        trials: list[TuneTrial],
        trial: TuneTrial,
        checkpoint: Checkpoint,
        **info: Any,
    ) -> None:
        """Record an epoch, which counts once its checkpoint is written."""
        result = trial.last_result
        if REPORT not in result:
            shutil.rmtree(checkpoint.path, ignore_errors=True)
            return
        metrics = {name: value for name, value in result[REPORT].items() if name != "epoch"}
        before = set(self._of(trial).checkpoints.values())
        self._write(
            "epoch",
            trial,
            epoch=result["training_iteration"],
            metrics=metrics,
            seconds=result["time_this_iter_s"],
            # Below the run's folder, or the one that a node has in its place.
            checkpoint=str(Path(*Path(checkpoint.path).parts[-3:])),
            **({"done": True} if ENDED in result else {}),
        )
        self._say_left_out(result.get(LEFT_OUT, {}), trial)
        for unneeded in before - set(self._of(trial).checkpoints.values()):
            shutil.rmtree(self.journal.folder / unneeded, ignore_errors=True)

    @_keeps_error
    def on_trial_complete(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """Record that a trial completed, was stopped, or failed by itself."""
        trial_id = trial.config[CONTROL]["trial_id"]
        failure = trial.last_result.get(FAILURE)
        if REFUSED in trial.last_result:
            is_new = not any(known.history for known in self.journal.record.trials.values())
            raise (PromiseError if is_new else TrainableError)(failure)
        if failure or (ENDED in trial.last_result and REPORT not in trial.last_result):
            self.recovery.forget(trial_id)
        else:
            self.recovery.complete(trial_id)
        if failure:
            self._fail(trial, failure)
            return
        last = self.experiment.kind.last_epoch
        done = ENDED in trial.last_result or (last is not None and self._of(trial).epochs >= last)
        if done:
            self._write("end", trial, status=TrialStatus.COMPLETED, error=None)
        else:
            rule = self.experiment.early_stopping.name
            self._write("end", trial, status=TrialStatus.STOPPED, error=None, rule=rule)

    @_keeps_error
    def on_trial_recover(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """Record that a trial's process was lost, and that it is started again."""
        self._begin(trial)
        error = self._lost(trial)
        if self.error is not None:
            return
        reason = self._reason(error, trial)
        self._write("restart", trial, node=failure_reader.lost_node(error), reason=reason)
        trial.config[CONTROL]["checkpoints"] = self._of(trial).saved
        # The last lines of this process are not those of the next one.
        self._read[trial.config[CONTROL]["trial_id"]] = self._log_size(trial)
        if self._of(trial).lost_nodes >= LOST_NODES:
            trial.run_metadata.num_failures = trial.max_failures + 1

    @_keeps_error
    def on_trial_error(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """Record that a trial failed: its process was lost too often."""
        self._begin(trial)
        error = self._lost(trial)
        if self.error is not None:
            return
        failures = self._of(trial).restarts + 1
        times = "" if failures == 1 else f", {failures} times"
        self._fail(trial, self._reason(error, trial) + times)

    @property
    def retries(self) -> int:
        """Number of times that a trial is restarted."""
        asked = self.experiment.retries
        return LOST_PROCESSES if asked is None else asked

    def _reason(self, error: str, trial: TuneTrial) -> str:
        log = self._log(trial)
        return failure_reader.failure_reason(error, log, self.experiment.step_timeout)

    def _lost(self, trial: TuneTrial) -> str:
        """The error of a process that was lost, once the last it printed is here."""
        trial_id = trial.config[CONTROL]["trial_id"]
        error = failure_reader.read_error(Path(trial.error_file))
        try:
            if refusal := failure_reader.refusal(error, self.journal.folder):
                raise StorageError(refusal)
            if failure_reader.lost_node(error):
                self.recovery.forget(trial_id)
            else:
                self.recovery.recover_log(trial_id)
        except StorageError as refused:
            # No failure of the trial's: it goes on once there is storage again.
            self.error = RefusedError(str(refused))
        return error

    def _log(self, trial: TuneTrial) -> list[str]:
        """The last lines that a trial printed since its process was last lost."""
        start = self._read.get(trial.config[CONTROL]["trial_id"], 0)
        try:
            return failure_reader.read_log_end(self._log_path(trial), start)
        except FileNotFoundError:
            return []
        except StorageError as error:
            self.error = JournalError(str(error))
            return []

    def _log_size(self, trial: TuneTrial) -> int:
        try:
            return self._log_path(trial).stat().st_size
        except (FileNotFoundError, StorageError):
            return 0

    def _log_path(self, trial: TuneTrial) -> Path:
        return store.download_log(self.journal.folder, trial.config[CONTROL]["trial_id"])

    def on_step_end(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        """End the run on a signal, where a hook raised something, and where its folder is gone."""
        self.check()
        self.raise_kept()
        self.journal.check()

    def raise_kept(self) -> None:
        """Raise what a hook raised, if one did."""
        if self.error is not None:
            raise self.error

    def _say_left_out(self, left_out: Mapping[str, str], trial: TuneTrial) -> None:
        """Name, once a run, the reported values that no curve can hold."""
        new = {name: kind for name, kind in left_out.items() if name not in self._named}
        self._named.update(new)
        if new:
            what = ", ".join(f"{name!r}, {kind}" for name, kind in new.items())
            trial_id = trial.config[CONTROL]["trial_id"]
            self.say(f"trial {trial_id} reports {what}: curves hold numbers, so it is not kept")

    def _of(self, trial: TuneTrial) -> Trial:
        return self.journal.record.trials[trial.config[CONTROL]["trial_id"]]

    def _begin(self, trial: TuneTrial) -> None:
        """Record the start of a trial that failed before it had started."""
        if trial.config[CONTROL]["trial_id"] not in self.journal.record.trials:
            self.on_trial_start(0, [], trial)

    def _fail(self, trial: TuneTrial, failure: str) -> None:
        self._begin(trial)
        error = "\n".join([failure, *failure_reader.last_lines(self._log(trial))])
        self._write("end", trial, status=TrialStatus.FAILED, error=error)

    def _write(self, event: str, trial: TuneTrial, **fields: Any) -> None:
        self.raise_kept()  # after what was not written nothing else is
        self.journal.append(event, trial_id=trial.config[CONTROL]["trial_id"], **fields)
        self.listen(event, self._of(trial))
