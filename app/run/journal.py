"""The journal of a run: an append-only file of events, and the record they add up to.

`journal.jsonl` is the truth that `result.json` and resuming are built from. Each line is one
event, written in one piece; a line that a crash cut short is dropped when it is read again.
"""

import errno
import fcntl
import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.experiment.objective import VALUES
from app.experiment.result_keys import is_finite
from app.experiment.run_folder import JOURNAL as JOURNAL
from app.run.events import FINISHED, Event, event_of
from app.storage.remote_folder import PlaceError, is_held_here, lease, place_of

RESULT = "result.json"
PARTIAL = ".partial"
"""How the name of a file or folder ends that is not whole yet."""
LOST_WITH = re.compile(r"its node .+ was lost")
LOCK_TRIES = 20
MOVED_FROM = (FileNotFoundError, NotADirectoryError)
OFTEN = 2**15
"""Up to so many bytes `result.json` is replaced at every event; a longer one takes its share."""
OFTEN_TOLD = ("trial", "epoch", "restart", "end")
"""Events of which there may be thousands."""
SHARE = 0.05
"""The part of a run's time that replacing a longer one may take."""
SELDOM_S = 0.5
"""How long a longer one stands at least."""

Epoch = dict[str, Any]
"""What one epoch reported: `epoch` and the metrics."""


class JournalError(Exception):
    """A journal that cannot be written or read, in one sentence."""


class Damaged(JournalError):
    """A journal with a line that cannot be taken in, in one sentence."""


class Moved(JournalError):
    """A run's folder that went away while the run went on."""

    def __init__(self, folder: Path, now: Path | None) -> None:
        what = "removed" if now is None else f"moved to {now}"
        super().__init__(f"{folder} was {what} while its run went on")
        self.folder = folder
        """Where the run began."""
        self.now = now
        """Where it is; None where nobody can say."""


@dataclass
class Trial:
    """What is known of one trial."""

    trial_id: str
    config: dict[str, Any]
    status: str = "pending"
    history: list[Epoch] = field(default_factory=list)
    best_epoch: Epoch | None = None
    """The epoch whose value counts: that with the best finite one, the first of equals; a
    script's may be the last or the first."""
    checkpoints: dict[int, str] = field(default_factory=dict)
    """Folders of that epoch and the latest one below the run's, by epoch."""
    is_over: bool = False
    """Whether its last epoch said that no other comes."""
    seconds: float = 0.0
    error: str | None = None
    restarts: int = 0
    """How often it went on after its process was lost, or ended by an exception."""
    restarted: str | None = None
    """Why it did so the last time."""
    lost_nodes: int = 0
    """How often that was because its node was lost."""
    went_back: str | None = None
    """Why it goes on from an earlier epoch than its latest, since it last started."""
    legs: int = 0
    """How often it was started: once, and once more for each time it was resumed."""
    seed: int | None = None
    """The seed by which it differs from other trials of its configuration; None of an only one."""

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to train."""
        return self.status in FINISHED

    @property
    def is_sound(self) -> bool:
        """Whether it has a value and did not fail."""
        return self.best_epoch is not None and self.status != "failed"

    @property
    def is_bad(self) -> bool:
        """Whether it failed by itself, or reported nothing finite: its configuration is to blame.

        One that was lost with its nodes, or ended before it reported anything, is not.
        """
        if self.status == "failed":
            return not is_lost(self.error)
        return self.is_finished and bool(self.history) and self.best_epoch is None

    def number(self) -> int:
        """Its place among the others, from 1."""
        return int(self.trial_id)

    @property
    def epochs(self) -> int:
        """Epochs that are done."""
        return int(self.history[-1]["epoch"]) if self.history else 0

    @property
    def saved(self) -> list[tuple[int, str]]:
        """The checkpoints from which it can go on, with their epochs, the latest first."""
        return sorted(self.checkpoints.items(), reverse=True)

    def as_json(self) -> dict[str, Any]:
        """The trial as `result.json` shows it."""
        return {
            "trial_id": self.trial_id,
            "status": self.status,
            "config": self.config,
            **({} if self.seed is None else {"seed": self.seed}),
            "epochs": self.epochs,
            "metrics": {} if self.best_epoch is None else _metrics(self.best_epoch),
            "history": self.history,
            "seconds": round(self.seconds, 3),
            "error": self.error,
            "restarts": self.restarts,
        }


@dataclass
class Record:
    """What the events so far add up to."""

    name: str
    metric: str
    mode: str
    seed: int
    value: str = "best"
    """Which of a trial's values counts, by name."""
    versions: dict[str, str] = field(default_factory=dict)
    status: str = "running"
    reason: str | None = None
    seconds: float = 0.0
    trials: dict[str, Trial] = field(default_factory=dict)
    warm: dict[str, Any] | None = None
    """What was taken over from earlier runs."""
    bests: list[float] = field(default_factory=list)
    """The best value after each trial that ended with one."""
    without_better: int = 0
    """Trials that ended since the best value was last improved, failed ones too."""
    stopped: list[str] = field(default_factory=list)
    """The trials that early stopping ended, in that order."""
    lost_nodes: dict[str, list[str]] = field(default_factory=dict)
    """The trials that went on elsewhere, by the node that each was lost with."""
    model: str | None = None
    model_of: dict[str, Any] | None = None
    """The trial and the epoch that the model is of, by `trial_id` and `epoch`."""
    model_error: str | None = None
    """Why there is no model, or none of the best trial, in one sentence."""
    export_failed: bool = False
    """Whether that is an error: a trainable that gives no model may be searched all the same."""
    best: Trial | None = None
    """The trial with the best value that counts, among those that did not fail."""

    @property
    def best_value(self) -> float | None:
        """The best trial's value."""
        best = self.best
        epoch = None if best is None else best.best_epoch
        return None if epoch is None else float(epoch[self.metric])

    @property
    def sign(self) -> int:
        """What a value is multiplied by, so that less is better."""
        return 1 if self.mode == "min" else -1

    def in_order(self) -> list[Trial]:
        """The trials by their numbers: three that start at once may be told of in any order."""
        return sorted(self.trials.values(), key=Trial.number)

    def apply_known(self, event: Event) -> bool:
        """Take in an event that may be of another version's kind; whether it is not."""
        if event["event"] not in APPLY:
            return False
        self.apply(event)
        return True

    def apply(self, event: Event) -> None:
        """Take in one event; raises ValueError where it is of a trial that never began."""
        trial_id = event.get("trial_id")
        if trial_id is not None and event["event"] != "trial" and trial_id not in self.trials:
            raise ValueError(f"is of trial {trial_id}, which never began")
        self.seconds = event["run_seconds"]
        APPLY[event["event"]](self, event)
        if "trial_id" in event:
            self._compare(self.trials[event["trial_id"]])

    def _compare(self, trial: Trial) -> None:
        """Let the trial be the best where it is; it may be so no longer."""
        # All are looked at only then: there may be thousands.
        rivals = self.trials.values() if trial is self.best else (self.best, trial)
        ranked = [each for each in rivals if each is not None and each.is_sound]
        self.best = min(ranked, key=self._rank, default=None)

    def _rank(self, trial: Trial) -> tuple[float, int]:
        assert trial.best_epoch is not None  # what is sound has one
        return self.sign * float(trial.best_epoch[self.metric]), trial.number()

    def as_json(self) -> dict[str, Any]:
        """The outcome so far, as `result.json` shows it."""
        return {
            **self.summary(),
            "trials": [trial.as_json() for trial in self.in_order()],
            **self.rest(),
        }

    def summary(self) -> dict[str, Any]:
        """The outcome without its trials."""
        return {
            "name": self.name,
            "status": self.status,
            "reason": self.reason,
            "metric": self.metric,
            "mode": self.mode,
            "seed": self.seed,
            "seconds": round(self.seconds, 3),
            "best": self._best_json(),
        }

    def rest(self) -> dict[str, Any]:
        """What stands below its trials."""
        return {
            "lost_nodes": self.lost_nodes,
            "model": self.model,
            "model_of": self.model_of,
            "model_error": self.model_error,
            "export_failed": self.export_failed,
            "versions": self.versions,
        }

    def _best_json(self) -> dict[str, Any] | None:
        trial = self.best
        if trial is None or trial.best_epoch is None:
            return None
        return {
            "trial_id": trial.trial_id,
            "config": trial.config,
            "epoch": trial.best_epoch["epoch"],
            "metrics": _metrics(trial.best_epoch),
        }


def lost_with(node: str) -> str:
    """The reason of a trial that was lost with its node."""
    return f"its node {node} was lost"


def is_lost(error: str | None) -> bool:
    """Whether that is why a trial was given up."""
    return LOST_WITH.match(error or "") is not None


def _metrics(epoch: Epoch) -> dict[str, Any]:
    return {name: value for name, value in epoch.items() if name != "epoch"}


def _run(record: Record, event: Event) -> None:
    """A driver took the run up, for the first time or again."""
    record.versions = event["versions"]
    record.status, record.reason = "running", None
    for trial in record.trials.values():
        if trial.status == "running":
            trial.status = "interrupted"


def _warm(record: Record, event: Event) -> None:
    """Earlier runs gave the search what they had learned."""
    record.warm = {key: event.get(key, []) for key in ("evaluated", "failed", "points")}


def _trial(record: Record, event: Event) -> None:
    """A trial was started or went on."""
    trial = record.trials.setdefault(
        event["trial_id"], Trial(event["trial_id"], dict(event["config"]))
    )
    trial.status, trial.error, trial.went_back = "running", None, None
    trial.legs, trial.seed = event["leg"], event.get("seed")


def _restart(record: Record, event: Event) -> None:
    """A trial's process was lost, and the trial goes on in another one."""
    trial, node = record.trials[event["trial_id"]], event["node"]
    trial.restarts, trial.restarted = trial.restarts + 1, event["reason"]
    if node is not None:
        trial.lost_nodes += 1
        record.lost_nodes.setdefault(node, []).append(trial.trial_id)


def _epoch(record: Record, event: Event) -> None:
    """An epoch is done and its checkpoint written."""
    trial = record.trials[event["trial_id"]]
    epoch = {"epoch": event["epoch"], **event["metrics"]}
    _forget(record, trial, from_epoch=epoch["epoch"])
    trial.history.append(epoch)
    if event["checkpoint"] is not None:
        trial.checkpoints[event["epoch"]] = event["checkpoint"]
    trial.is_over = event.get("done", False)
    trial.seconds += event["seconds"]
    # Only the new one is looked at: there may be ten thousand.
    trial.best_epoch = _that_counts(record, trial.best_epoch, [epoch])
    kept = {event["epoch"], 0 if trial.best_epoch is None else trial.best_epoch["epoch"]}
    trial.checkpoints = {each: path for each, path in trial.checkpoints.items() if each in kept}


def _back(record: Record, event: Event) -> None:
    """A checkpoint was lost: the trial goes on from an earlier epoch, later ones are forgotten."""
    trial = record.trials[event["trial_id"]]
    trial.went_back = event["reason"]
    _forget(record, trial, from_epoch=event["epoch"] + 1)
    left = trial.checkpoints.items()
    trial.checkpoints = {epoch: path for epoch, path in left if epoch <= event["epoch"]}


def _forget(record: Record, trial: Trial, *, from_epoch: int) -> None:
    """Forget a trial's epochs from that one on."""
    while trial.history and trial.history[-1]["epoch"] >= from_epoch:
        trial.history.pop()
    best = trial.best_epoch
    if best is not None and best["epoch"] >= from_epoch:
        trial.best_epoch = _that_counts(record, None, trial.history)


def _that_counts(record: Record, counts: Epoch | None, further: list[Epoch]) -> Epoch | None:
    """The epoch whose value is the trial's, of the one that was and those that followed."""
    takes_over = VALUES[record.value]
    for epoch in further:
        value = epoch.get(record.metric)
        if is_finite(value) and (
            counts is None
            or takes_over(record.sign * counts[record.metric], record.sign * epoch[record.metric])
        ):
            counts = epoch
    return counts


def _end(record: Record, event: Event) -> None:
    """A trial ended."""
    trial = record.trials[event["trial_id"]]
    trial.status, trial.error = event["status"], event["error"]
    if event.get("rule"):
        record.stopped.append(trial.trial_id)
    before = record.bests[-1:]
    if trial.is_sound and trial.best_epoch is not None:
        values = (*before, float(trial.best_epoch[record.metric]))
        record.bests.append(min(values, key=lambda value: record.sign * value))
    record.without_better = 0 if record.bests[-1:] != before else record.without_better + 1


def _model(record: Record, event: Event) -> None:
    """A model was exported, or could not be: then an earlier one stays."""
    record.model_error = event.get("error")
    record.export_failed = event.get("failed", False)
    if event["model"] is not None:
        record.model, record.model_of = event["model"], event.get("of")


def _status(record: Record, event: Event) -> None:
    """The run ended, or was interrupted."""
    record.status, record.reason = event["status"], event["reason"]
    for trial in record.trials.values():
        if trial.status == "running":
            trial.status = "interrupted"


APPLY = {
    "run": _run,
    "warm": _warm,
    "trial": _trial,
    "restart": _restart,
    "epoch": _epoch,
    "back": _back,
    "end": _end,
    "model": _model,
    "status": _status,
}


class Journal:
    """The journal of a run that is going on: it alone writes, and holds a lock while it does."""

    def __init__(self, folder: Path, record: Record, *, must_exist: bool = False) -> None:
        """Open the journal in `folder`; `record` takes in what it already says.

        Raises JournalError where another process has the run, where the file cannot be written,
        and where a run must exist and the file is gone or says nothing.
        """
        self.folder = folder
        self.record = record
        path = folder / JOURNAL
        create = 0 if must_exist else os.O_CREAT
        try:
            self._file = os.open(path, os.O_RDWR | create | os.O_APPEND, 0o644)
        except FileNotFoundError as error:
            raise gone(folder) from error
        except OSError as error:
            raise JournalError(f"cannot write {path}: {error.strerror}") from error
        try:
            lock(self._file, folder)
            content = self._content()
            if must_exist and b"\n" not in content:
                raise gone(folder)
            if not _is_of(path, self._file):
                raise JournalError(f"{folder.name} is being run by another process")
            self._cut_short(content)
            self.passed_over = replay(record, content, path)
        except JournalError:
            os.close(self._file)
            raise
        self._began: float | None = None
        self._broken: JournalError | None = None
        self._settled: list[str] = []
        self._told = _Told()
        self.sent: Callable[[], None] = _nowhere
        """What sends an event on, once it is written here."""
        self.applied: Callable[[Event], None] = _unheard
        """What is told of an event, once the record has taken it in; raises JournalError."""
        self.held: Callable[[], None] = _nowhere
        """Raises PlaceError where another process has taken the run in hand."""

    @property
    def seconds(self) -> float:
        """Seconds that the run has taken, earlier legs included; they stand while none goes on."""
        return self.record.seconds if self._began is None else time.monotonic() - self._began

    def append(self, event: str, **fields: Any) -> None:
        """Write one event and replace `result.json`, one that is long at its next turn.

        Raises JournalError where that cannot be done, and Moved where the folder went away.
        """
        self._check()
        if event == "run":
            self._began = time.monotonic() - self.record.seconds
        line: Event = {"event": event, **fields, "time": time.time(), "run_seconds": self.seconds}
        encoded = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        # A start that is lost with the power is told again.
        self._write(encoded, durable=event != "trial")
        self.record.apply(json.loads(encoded))
        self._told.is_due = True
        self._tell(at_once=event not in OFTEN_TOLD)
        self.applied(line)
        try:
            self.sent()
        except (PlaceError, OSError) as error:
            raise JournalError(str(error)) from error

    def retell(self) -> None:
        """Replace `result.json` by what the journal says; raises JournalError."""
        self._told.is_due = True
        self._tell(at_once=True)

    def look(self) -> None:
        """Between events: raise Moved where the folder went away, and replace what is to be."""
        self._check()
        self._tell(at_once=False)
        try:
            self.held()
        except PlaceError as error:
            raise JournalError(str(error)) from error

    def reread(self) -> None:
        """Build the record anew from the file, as after an interrupt in the middle of an event."""
        kept = self.record
        fresh = Record(kept.name, kept.metric, kept.mode, kept.seed, kept.value)
        content = self._content()
        self._cut_short(content)
        replay(fresh, content, self.folder / JOURNAL)
        self.record = fresh
        self._settled.clear()

    def close(self) -> None:
        """Give up the lock, with what is known in `result.json`."""
        try:
            with suppress(JournalError):
                self._check()
                self._tell(at_once=True)
        finally:
            os.close(self._file)

    def _check(self) -> None:
        """Raise what makes a further event useless."""
        if self._broken is not None:
            raise self._broken
        if not _is_of(self.folder / JOURNAL, self._file):
            raise Moved(self.folder, self._now())

    def _now(self) -> Path | None:
        """Where the folder is by now; None where it is nowhere."""
        with suppress(OSError):
            now = Path(f"/proc/self/fd/{self._file}").readlink()
            if now.is_file() and os.path.samestat(now.stat(), os.fstat(self._file)):
                return now.parent
        return None

    def _write(self, encoded: bytes, *, durable: bool) -> None:
        """Write a line, whole or not at all."""
        end = None
        try:
            end = os.lseek(self._file, 0, os.SEEK_END)
            written = os.write(self._file, encoded)
            if written < len(encoded):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if durable:
                os.fsync(self._file)
        except OSError as error:
            failed = JournalError(f"cannot write {self.folder / JOURNAL}: {error.strerror}")
            try:
                if end is not None:
                    os.ftruncate(self._file, end)
            except OSError:
                # What stands there may be half a line, after which nothing can be read.
                self._broken = failed
            raise failed from error

    def _tell(self, *, at_once: bool) -> None:
        """Replace `result.json` where it does not say all, and it is time."""
        if not self._told.is_due or not (at_once or self._told.is_time):
            return
        began = time.monotonic()
        text = self._result()
        write_whole(self.folder / RESULT, text)
        self._told = _Told(len(text), time.monotonic(), time.monotonic() - began)

    def _content(self) -> bytes:
        """What the file holds, wherever it is by now."""
        try:
            return os.pread(self._file, os.fstat(self._file).st_size, 0)
        except OSError as error:
            path = self.folder / JOURNAL
            raise JournalError(f"cannot read {path}: {error.strerror}") from error

    def _result(self) -> str:
        """`result.json`; what the first trials show is kept once they have all finished."""
        record = self.record
        ordered = record.in_order()
        for trial in ordered[len(self._settled) :]:
            # One that was started before it may yet be told of.
            if not trial.is_finished or trial.number() > len(self._settled) + 1:
                break
            self._settled.append(json.dumps(trial.as_json()))
        rest = (json.dumps(trial.as_json()) for trial in ordered[len(self._settled) :])
        trials = ",\n".join([*self._settled, *rest])
        head = json.dumps(record.summary())
        tail = json.dumps(record.rest())
        return f'{head[:-1]},\n"trials": [\n{trials}\n],\n{tail[1:]}\n'

    def _cut_short(self, content: bytes) -> None:
        """Remove what a crash left of a last line, so that the next one starts on its own."""
        if content and not content.endswith(b"\n"):
            os.ftruncate(self._file, content.rfind(b"\n") + 1)


@dataclass
class _Told:
    """What is known of the last `result.json`."""

    size: int = 0
    at: float = 0.0
    took: float = 0.0
    is_due: bool = False
    """Whether something came since."""

    @property
    def is_time(self) -> bool:
        stands = max(SELDOM_S, self.took / SHARE)
        return self.size <= OFTEN or time.monotonic() >= self.at + stands


def _is_of(path: Path, file: int) -> bool:
    """Whether a path is that of an open file; raises JournalError where nobody can say."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except MOVED_FROM:
        return False
    except OSError as error:
        raise JournalError(f"cannot read {path}: {error.strerror}") from error


def gone(folder: Path) -> JournalError:
    """Say that a run has no journal any more, and what would do."""
    path = folder / JOURNAL
    return JournalError(
        f"{folder.name}: its journal is gone; put {path} back, or begin a new run:"
        " nothing was changed"
    )


def check_there(folder: Path) -> None:
    """Raise JournalError where a run's journal is gone, before anything is started for the run."""
    path = folder / JOURNAL
    with suppress(PermissionError):  # which is said when it is opened
        if not path.exists() or not path.stat().st_size:
            raise gone(folder)


def _nowhere() -> None:
    """Where runs are kept here, nothing is sent on."""


def _unheard(event: Event) -> None:
    """Ignore an event: the default where nobody follows the journal."""


def lock(file: int, folder: Path) -> None:
    """Take the run in hand; raises JournalError where another process has it."""
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            # Whoever only asks whether the run is in hand has the lock for a moment.
            time.sleep(0.01)
    raise JournalError(f"{folder.name} is being run by another process")


def read(path: Path) -> Iterator[Event]:
    """The whole events of a journal, in order; raises Damaged."""
    for number, line in lines(path.read_bytes()):
        event = _event(line, number, path)
        if event["event"] in APPLY:
            yield event


def replay(record: Record, content: bytes, path: Path) -> Counter[str]:
    """Let the record take in a journal's content; gives the kinds that are passed over.

    Raises Damaged.
    """
    unknown: Counter[str] = Counter()
    for number, line in lines(content):
        event = _event(line, number, path)
        try:
            if not record.apply_known(event):
                unknown[event["event"]] += 1
        except ValueError as error:
            raise Damaged(f"{path}, line {number}: {error}") from error
    return unknown


def lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    """A journal's whole lines with their numbers; what a crash left of a last one is none."""
    return enumerate(content.split(b"\n")[:-1], 1)


def _event(line: bytes, number: int, path: Path) -> Event:
    try:
        return event_of(line)
    except ValueError as error:
        raise Damaged(f"{path}, line {number}: {error}") from error


def is_locked(folder: Path) -> bool:
    """Whether a process has the run in hand: on this machine, or any where a URI keeps it."""
    if is_held_here(folder):
        return True
    place = place_of(folder)
    return place is not None and lease(place) is not None


def write_whole(path: Path, text: str, *, durable: bool = False) -> None:
    """Replace a file as a whole; raises JournalError where it cannot be written.

    Where it is to be durable, it is on the disk before it takes its place.
    """
    partial = path.with_name(path.name + PARTIAL)
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise JournalError(f"cannot write {path}: {error.strerror}") from error
