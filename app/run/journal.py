"""The journal of a run: an append-only file of events that one process writes.

`journal.jsonl` is the truth that `result.json` and resuming are built from. Each line is one
event, written at once; a line that a crash cut short is dropped when it is read again.
"""

import errno
import fcntl
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from app.experiment.run_folder import JOURNAL
from app.run.errors import JournalError, MovedError
from app.run.events import Event
from app.run.journal_reader import replay
from app.run.record import Record
from app.run.result_file import RESULT, ResultFile
from app.storage.remote_folder import StorageError
from app.storage.run_storage import run_storage

LOCK_TRIES = 20
MOVED_FROM = (FileNotFoundError, NotADirectoryError)
FREQUENT = ("trial", "epoch", "restart", "end", "extend")
"""Events of which there may be thousands."""
REPEATABLE = ("epoch", "restart", "end")
"""Events that a run can lose behind a URI and go on; without its start, another trial would take
over the files of the one that is lost."""


class Follower(Protocol):
    """Copies what a journal's process writes to a storage; its methods raise StorageError."""

    def send(self, *, at_once: bool) -> None:
        """Send what has changed, `at_once` or when there is time."""
        ...

    def check(self) -> None:
        """Check that this process still has the run in hand, and send what waited."""
        ...


class Journal:
    """The journal of a run, opened for writing and locked; one process at a time has it."""

    def __init__(self, folder: Path, record: Record, *, must_exist: bool = False) -> None:
        """Open and lock the journal in `folder`, and apply its events to `record`.

        Raises JournalError where another process has the run, where the file cannot be written,
        and, if it `must_exist`, where it is gone or empty.
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
            self._truncate(content)
            self.unknown_events = replay(record, content, path)
        except JournalError:
            os.close(self._file)
            raise
        self._began: float | None = None
        self._broken: JournalError | None = None
        self._result = ResultFile()
        self.observers: list[Callable[[Event], None]] = []
        """Called with each event after the record has changed; they may raise JournalError."""
        self.followers: list[Follower] = []
        """Keep the run's storage up to date after each event."""

    @property
    def seconds(self) -> float:
        """Seconds that the run has taken in all its attempts; they stand between attempts."""
        return self.record.seconds if self._began is None else time.monotonic() - self._began

    def append(self, event: str, **fields: Any) -> None:
        """Write one event, apply it to the record and replace `result.json`.

        A large `result.json` is replaced later. Raises JournalError where that cannot be done, and
        MovedError where the folder was moved.
        """
        self._check()
        if event == "run":
            self._began = time.monotonic() - self.record.seconds
        line: Event = {"event": event, **fields, "time": time.time(), "run_seconds": self.seconds}
        encoded = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        # The start of a trial, if lost with the power, is written again.
        self._write(encoded, durable=event != "trial")
        self.record.apply(json.loads(encoded))
        if event == "extend":
            self._result.reset()
        self._write_result(changed=True, at_once=event not in FREQUENT)
        for observe in self.observers:
            observe(line)
        try:
            for follower in self.followers:
                follower.send(at_once=event not in REPEATABLE)
        except (StorageError, OSError) as error:
            raise JournalError(str(error)) from error

    def rewrite_result(self) -> None:
        """Replace `result.json` by what the journal says; raises JournalError."""
        self._write_result(changed=True, at_once=True)

    def check(self) -> None:
        """Check between events that the run can go on, and replace a `result.json` that waited.

        Raises MovedError where the folder was moved, JournalError where the run is another's.
        """
        self._check()
        self._write_result(at_once=False)
        try:
            for follower in self.followers:
                follower.check()
        except (StorageError, OSError) as error:
            raise JournalError(str(error)) from error

    def reload(self) -> None:
        """Build the record anew from the file, as after an interrupt in the middle of an event."""
        old = self.record
        fresh = Record(old.name, old.metric, old.mode, old.seed, old.value)
        content = self._content()
        self._truncate(content)
        replay(fresh, content, self.folder / JOURNAL)
        self.record = fresh
        self._result.reset()

    def close(self) -> None:
        """Write `result.json` if it waited, and give up the lock."""
        try:
            with suppress(JournalError):
                self._check()
                self._write_result(at_once=True)
        finally:
            os.close(self._file)

    def _check(self) -> None:
        """Raise the error that makes further events useless."""
        if self._broken is not None:
            raise self._broken
        if not _is_of(self.folder / JOURNAL, self._file):
            raise MovedError(self.folder, self._moved_to())

    def _moved_to(self) -> Path | None:
        """The folder as it is now; None where it was removed."""
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
                # Half a line may be left, after which nothing can be read.
                self._broken = failed
            raise failed from error

    def _write_result(self, *, changed: bool = False, at_once: bool) -> None:
        """Replace `result.json` where the record has changed and it is time."""
        write = self._result.update if changed else self._result.flush
        try:
            write(self.folder, self.record, at_once=at_once)
        except OSError as error:
            path = self.folder / RESULT
            raise JournalError(f"cannot write {path}: {error.strerror}") from error

    def _content(self) -> bytes:
        """The content of the file, wherever it was moved."""
        try:
            return os.pread(self._file, os.fstat(self._file).st_size, 0)
        except OSError as error:
            path = self.folder / JOURNAL
            raise JournalError(f"cannot read {path}: {error.strerror}") from error

    def _truncate(self, content: bytes) -> None:
        """Remove a last line that a crash cut short."""
        if content and not content.endswith(b"\n"):
            os.ftruncate(self._file, content.rfind(b"\n") + 1)


def _is_of(path: Path, file: int) -> bool:
    """Whether a path is that of an open file; raises JournalError where it cannot be looked up."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except MOVED_FROM:
        return False
    except OSError as error:
        raise JournalError(f"cannot read {path}: {error.strerror}") from error


def gone(folder: Path) -> JournalError:
    """Return the error for a run whose journal is gone."""
    path = folder / JOURNAL
    return JournalError(
        f"{folder.name}: its journal is gone; put {path} back, or begin a new run:"
        " nothing was changed"
    )


def check_exists(folder: Path) -> None:
    """Raise JournalError where a run's journal is known to be gone, before anything is started."""
    with suppress(PermissionError):  # which opening it reports
        if run_storage(folder).lacks(JOURNAL):
            raise gone(folder)


def lock(file: int, folder: Path) -> None:
    """Lock an open journal; raises JournalError where another process has locked it."""
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            # A process that only looks whether the journal is locked has it for a moment.
            time.sleep(0.01)
    raise JournalError(f"{folder.name} is being run by another process")
