"""What Tune tells of its trials, written to the journal; checkpoints nobody needs removed."""

import functools
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from ray.tune import Callback, Checkpoint
from ray.tune.experiment import Trial as TuneTrial

from app.cluster.failures import NODE_LOST, OUT_OF_MEMORY
from app.engine.artifact_recovery import ArtifactRecovery
from app.engine.hang_guard import HUNG, hung_method
from app.experiment.result_keys import BACK, CONTROL, ENDED, FAILURE, LEFT_OUT, REFUSED, REPORT
from app.experiment.schema import Experiment
from app.run import store
from app.run.journal import Journal, JournalError
from app.run.status import TrialStatus
from app.run.trial import Trial, node_lost
from app.storage.remote_folder import StorageError
from trainables.contract import Refused, TrainableError
from trainables.errors import reason as reasons
from trainables.errors.last_lines import without_launcher

LOST_PROCESSES = 3
"""How often a trial is started again after its process was lost, unless an experiment says."""
LOST_NODES = 10
"""How many of its nodes may be lost before the next loss is the end of a trial."""
LOW_ON_MEMORY = "running low on memory"
"""What it says where the process was still being started."""
OUR_ERROR = re.compile(r"^trainables\.(?:contract\.\w+|errors\.reason\.Failed): ")
"""What Python puts before the sentence of an error of ours."""
NO_ROOM = re.compile(r"\btrainables\.errors\.reason\.NoRoom: (.*)")
"""What an error says of a process to which a disk refused something."""
RAYS_DISK = "OutOfDiskError"
"""What an error says where Ray's own folder is on a disk that is full."""
EXIT_CODE = re.compile(r"Worker exits with an exit code (-?\d+)")
WITHOUT_A_WORD = "Worker unexpectedly exits with a connection error"
"""What Ray says of a process that was there, and is gone."""
PLACE_ERROR = re.compile(r"\bapp\.storage\.remote_folder\.StorageError: (.*)")
"""What an error says of a process to which the run's place refused something."""
FAILURE_HEAD = re.compile(r"^Failure # \d+ \(occurred at .*\)\n", re.MULTILINE)
"""What Tune puts before each of a trial's errors in the file that keeps them all."""
DUMPS = (
    HUNG,
    reasons.FATAL,
    *(f"*** {each.name} " for each in reasons.SIGNALS.values()),
)
"""How the lines begin from which on a log says where a process was that is ended."""
LAST_LINES = 20
"""Lines of a failed trial's log that are kept with its error."""
LONGEST = 300
"""Characters that are kept of each of them."""
TAIL = 2**16
"""Bytes of a log's end that are read."""


Hook = TypeVar("Hook", bound=Callable[..., None])


def _kept(hook: Hook) -> Hook:
    """The hook, with what it raises kept for the step's end: Tune would log it and go on."""

    @functools.wraps(hook)
    def keeping(self: "JournalCallback", *arguments: Any, **named: Any) -> None:
        try:
            hook(self, *arguments, **named)
        except Exception as error:
            if self.error is None:
                self.error = error

    return cast("Hook", keeping)


def _nothing(text: str) -> None:
    """Drop what is said: the default where nobody listens."""


class JournalCallback(Callback):
    """Writes every event of a leg to the journal, and then tells the listener.

    What any of that raises ends the run at the end of Tune's step.
    """

    def __init__(
        self,
        journal: Journal,
        experiment: Experiment,
        recovery: ArtifactRecovery,
        listen: Callable[[str, Trial], None],
        check: Callable[[], None],
        say: Callable[[str], None] = _nothing,
    ) -> None:
        """Tell `listen` of each event's name and trial; `check` raises what came meanwhile.

        What is worth a line beside is told to `say`.
        """
        self.journal = journal
        self.recovery = recovery
        self.experiment = experiment
        self.listen = listen
        self.check = check
        self.error: Exception | None = None
        """What was raised first."""
        self.say = say
        self._named: set[str] = set()
        """What was reported that no curve can hold, once the listener knows."""
        self._heard: dict[str, int] = {}
        """How long the log of a trial was when its process was last lost."""

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks beside its state; the journal is what a run resumes from.
        return {}

    @_kept
    def on_trial_start(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """A trial starts, or starts again after its process was lost."""
        control = trial.config[CONTROL]
        self.recovery.start(control["trial_id"], trial.temporary_state.ray_actor)
        space = self.experiment.space
        config = {name: value for name, value in trial.config.items() if name in space}
        asked = self.experiment
        tells_seed = asked.repeats > 1 and asked.gives_seeds
        seed = {"seed": trial.config["seed"]} if tells_seed else {}
        self._write("trial", trial, config=config, leg=control["leg"], **seed)

    @_kept
    def on_trial_result(
        self,
        iteration: int,
        trials: list[TuneTrial],
        trial: TuneTrial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        """A trial whose checkpoint could not be read went on from an earlier one."""
        if BACK in result:
            self._write("back", trial, **result[BACK])

    @_kept
    def on_checkpoint(
        self,
        iteration: int,
        trials: list[TuneTrial],
        trial: TuneTrial,
        checkpoint: Checkpoint,
        **info: Any,
    ) -> None:
        """An epoch counts once its checkpoint is written."""
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
        self._name(result.get(LEFT_OUT, {}), trial)
        for unneeded in before - set(self._of(trial).checkpoints.values()):
            shutil.rmtree(self.journal.folder / unneeded, ignore_errors=True)

    @_kept
    def on_trial_complete(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """A trial ended: as far as was asked, earlier, or by a failure of its own."""
        trial_id = trial.config[CONTROL]["trial_id"]
        failure = trial.last_result.get(FAILURE)
        if REFUSED in trial.last_result:
            is_new = not any(each.history for each in self.journal.record.trials.values())
            raise (Refused if is_new else TrainableError)(failure)
        if failure or (ENDED in trial.last_result and REPORT not in trial.last_result):
            self.recovery.forget(trial_id)
        else:
            self.recovery.complete(trial_id)
        if failure:
            self._fail(trial, failure)
            return
        last = self.experiment.last_epoch
        done = ENDED in trial.last_result or (last is not None and self._of(trial).epochs >= last)
        if done:
            self._write("end", trial, status=TrialStatus.COMPLETED, error=None)
        else:
            rule = self.experiment.early_stopping.name
            self._write("end", trial, status=TrialStatus.STOPPED, error=None, rule=rule)

    @_kept
    def on_trial_recover(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """A trial's process was lost, and it is started again."""
        self._begin(trial)
        error = self._lost(trial)
        if self.error is not None:
            return
        node = error.partition(NODE_LOST)[2] or None
        reason = node_lost(node) if node else self._why(error, self._log(trial))
        self._write("restart", trial, node=node, reason=reason)
        trial.config[CONTROL]["checkpoints"] = self._of(trial).saved
        # The last words of this process are not those of the next one.
        self._heard[trial.config[CONTROL]["trial_id"]] = self._log_size(trial)
        if self._of(trial).lost_nodes >= LOST_NODES:
            trial.run_metadata.num_failures = trial.max_failures + 1

    @_kept
    def on_trial_error(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """A trial's process was lost more often than it is started again."""
        self._begin(trial)
        error = self._lost(trial)
        if self.error is not None:
            return
        why = self._why(error, self._log(trial))
        failures = self._of(trial).restarts + 1
        self._fail(trial, why + ("" if failures == 1 else f", {failures} times"))

    @property
    def retries(self) -> int:
        """How often a trial is started again."""
        asked = self.experiment.retries
        return LOST_PROCESSES if asked is None else asked

    def _why(self, text: str, log: Sequence[str]) -> str:
        """Why Tune gave a trial up, from its error's text and its log."""
        if NODE_LOST in text:
            return node_lost(text.partition(NODE_LOST)[2])
        if OUT_OF_MEMORY in text or LOW_ON_MEMORY in text:
            return "its process was ended because the machine ran out of memory"
        limit = self.experiment.step_timeout
        if limit is not None and (dump := _hung(log)) is not None:
            place = reasons.stuck(log[dump:])
            what = f"it hung: {hung_method(log[dump:])} took longer than {limit:g} s"
            return what + (place and f" ({place})")
        last = text.splitlines()[-1]
        if OUR_ERROR.match(last):
            return reasons.line(OUR_ERROR.sub("", last))
        if "RayTaskError" in text or "ray::" in text:
            return reasons.raised(text)
        return reasons.crash(log) or _rays_words(last)

    def _lost(self, trial: TuneTrial) -> str:
        """What Tune was told of a process that was lost, once its last words are kept."""
        error, trial_id = _last_error(trial), trial.config[CONTROL]["trial_id"]
        try:
            if refused := PLACE_ERROR.search(error):
                raise StorageError(refused[1])
            if full := self._full(error):
                raise StorageError(full)
            if NODE_LOST in error:
                self.recovery.forget(trial_id)
            else:
                self.recovery.recover_log(trial_id)
        except StorageError as refusal:
            # No failure of the trial's: it goes on once the place can be used.
            self.error = JournalError(str(refusal))
        return error

    def _full(self, error: str) -> str | None:
        """Say which disk is full and how to go on; None where a process was lost otherwise."""
        refused = NO_ROOM.search(error)
        refusal = reasons.refusal_in(error) if "ray::" in error else None
        if refused:
            full = refused[1]
        elif RAYS_DISK in error:
            full = "the disk of Ray's own folder is full"
        elif refusal:
            full = f"{self.journal.folder}: {refusal}"
        else:
            return None
        return f"{full}; make room, and go on by: {store.resume_command(self.journal.folder)}"

    def _log(self, trial: TuneTrial) -> list[str]:
        """The last lines that a trial printed since its process was last lost."""
        heard = self._heard.get(trial.config[CONTROL]["trial_id"], 0)
        try:
            return _tail(self._log_path(trial), heard)
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
        return store.log(self.journal.folder, trial.config[CONTROL]["trial_id"])

    def on_step_end(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        """End the run on a signal, where a hook raised something, and where its folder is gone."""
        self.check()
        self.raise_kept()
        self.journal.look()

    def raise_kept(self) -> None:
        """Raise what a hook raised, if one did."""
        if self.error is not None:
            raise self.error

    def _name(self, left_out: Mapping[str, str], trial: TuneTrial) -> None:
        """Say, once a run, what of the reports no curve can hold."""
        new = {name: kind for name, kind in left_out.items() if name not in self._named}
        self._named.update(new)
        if new:
            what = ", ".join(f"{name!r}, {kind}" for name, kind in new.items())
            trial_id = trial.config[CONTROL]["trial_id"]
            self.say(f"trial {trial_id} reports {what}: curves hold numbers, so it is not kept")

    def _of(self, trial: TuneTrial) -> Trial:
        return self.journal.record.trials[trial.config[CONTROL]["trial_id"]]

    def _begin(self, trial: TuneTrial) -> None:
        """Let the journal know a trial that failed before it had started."""
        if trial.config[CONTROL]["trial_id"] not in self.journal.record.trials:
            self.on_trial_start(0, [], trial)

    def _fail(self, trial: TuneTrial, failure: str) -> None:
        self._begin(trial)
        told = "\n".join([failure, *_said(self._log(trial))])
        self._write("end", trial, status=TrialStatus.FAILED, error=told)

    def _write(self, event: str, trial: TuneTrial, **fields: Any) -> None:
        self.raise_kept()  # after what was not written nothing else is
        self.journal.append(event, trial_id=trial.config[CONTROL]["trial_id"], **fields)
        self.listen(event, self._of(trial))


def _last_error(trial: TuneTrial) -> str:
    """What Tune was told when it last lost a trial's process, or when that raised."""
    text = Path(trial.error_file).read_text(encoding="utf-8", errors="replace")
    return FAILURE_HEAD.split(text)[-1].strip()


def _tail(path: Path, start: int) -> list[str]:
    """The last lines of a file from there on."""
    with path.open("rb") as file:
        begin = max(start, file.seek(0, os.SEEK_END) - TAIL)
        file.seek(begin)
        lines = file.read().decode("utf-8", "replace").splitlines()
    # The first of several may have lost its beginning.
    return lines[1:] if begin > start and len(lines) > 1 else lines


def _hung(log: Sequence[str]) -> int | None:
    """The line from which on a log tells where a hung process was; None where it did not hang."""
    words = [number for number, line in enumerate(log) if line.startswith(HUNG)]
    if not words or not all(reasons.is_stack(line) for line in log[words[-1] + 1 :]):
        return None
    return words[-1]


def _said(log: Sequence[str]) -> list[str]:
    """The last lines that a trial printed itself, as they are kept; stacks are in the log."""
    dumped = (number for number, line in enumerate(log) if line.startswith(DUMPS))
    own = without_launcher(log[: next(dumped, None)])
    return [reasons.shown(line, LONGEST) for line in own[-LAST_LINES:]]


def _rays_words(last: str) -> str:
    """Say why a process was lost, by Ray's words: its own log does not tell."""
    if code := EXIT_CODE.search(last):
        return f"{reasons.EXITED}{code[1]}"
    if WITHOUT_A_WORD in last:
        return "its process was lost without a word: killed from outside, or for want of memory"
    return f"its process was lost: {reasons.shown(reasons.line(last), LONGEST)}"
