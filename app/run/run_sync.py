"""Synchronisation of a run with its storage: downloaded once, uploaded after each event."""

import contextlib
import os
import threading
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from app.experiment.run_folder import CODE, JOURNAL
from app.run.events import Event
from app.run.journal import Journal
from app.run.layout import MODEL, STOP, STUDY, TENSORBOARD, TUNE, WANDB
from app.run.result_file import RESULT
from app.storage.files import PARTIAL
from app.storage.remote_folder import StorageError
from app.storage.run_storage import RunLock, RunStorage, Upload, run_storage

LOGS_INTERVAL_S = 10.0
"""The time between uploads of files that grow, while trials go on: the study, those of loggers."""
SMALL_BYTES = 2**20
"""A journal up to this size is uploaded at every event: a store has no way to append to a file."""
TIME_SHARE = 0.05
"""The part of a run's time that uploading a larger journal may take."""
LOG_FOLDERS = (TENSORBOARD, WANDB)
"""The folders that loggers write."""
FOLDERS = (MODEL, CODE)
"""The other folders of a run that its process writes; trials write the rest."""


class RunSync:
    """Sends what a run's process writes to the run's storage."""

    def __init__(self, storage: RunStorage, lock: RunLock) -> None:
        self._storage = storage
        self._run_lock = lock
        self._journal: Journal | None = None
        self._logs_sent_at = 0.0
        self._is_behind = False
        """Whether something was written that waits to be sent."""
        self._sent_at = 0.0
        self._took_s = 0.0
        self._named: set[str] = set()
        """Checkpoints that events have named since the last upload; nodes have uploaded them."""
        self._upload_lock = threading.Lock()
        """Events may come from several threads."""

    def follow(self, journal: Journal) -> None:
        """Send what is here now, and from now on what comes with the journal's events."""
        self._journal = journal
        journal.followers.append(self)
        journal.observers.append(self._note_checkpoint)
        self.send()

    def send(self, *, at_once: bool = True, with_logs: bool = False) -> None:
        """Send what has changed: models before the journal that names them.

        A large journal waits, unless it is to be sent `at_once`, until that takes little of the
        run's time; a checkpoint that it needs stays until then. Raises StorageError where sending
        fails, or another process has taken the run.
        """
        with self._upload_lock:
            self._run_lock.check()
            self._is_behind = True
            if at_once or self._is_time():
                self._upload(with_logs=with_logs)

    def check(self) -> None:
        """Send what waited, if it is time; raises StorageError as `send` does."""
        self._run_lock.check()
        if not (self._is_behind and self._is_time() and self._upload_lock.acquire(blocking=False)):
            return
        try:
            self._upload()
        finally:
            self._upload_lock.release()

    def _is_time(self) -> bool:
        if time.monotonic() >= self._sent_at + self._took_s / TIME_SHARE:
            return True
        return (self._storage.folder / JOURNAL).stat().st_size <= SMALL_BYTES

    def _upload(self, *, with_logs: bool = False) -> None:
        began = time.monotonic()
        are_logs_due = with_logs or began > self._logs_sent_at + LOGS_INTERVAL_S
        named = self._named.copy()
        self._storage.upload(lambda: self._select(named, with_logs=are_logs_due))
        self._named -= named
        self._is_behind = False
        self._sent_at = time.monotonic()
        self._took_s = self._sent_at - began
        if are_logs_due:
            self._logs_sent_at = self._sent_at

    def _note_checkpoint(self, event: Event) -> None:
        if checkpoint := event.get("checkpoint"):
            self._named.add(checkpoint)

    def _select(self, named: Collection[str], *, with_logs: bool) -> Upload:
        folder = self._storage.folder
        files = [
            path for path in folder.glob("*") if PARTIAL not in path.name and path.name != STOP
        ]
        for name in (*FOLDERS, *LOG_FOLDERS) if with_logs else FOLDERS:
            # A logger's thread may remove a folder meanwhile, which `walk` passes over.
            for parent, _, names in os.walk(folder / name):
                files += [Path(parent, file) for file in names]
        return Upload(
            files,
            last=(JOURNAL, RESULT),
            postponed=() if with_logs else (STUDY, *LOG_FOLDERS),
            checkpoints=self._checkpoints(),
            named=named,
        )

    def _checkpoints(self) -> set[str] | None:
        """The checkpoints that trials may go on from; None before the journal is read."""
        if self._journal is None:
            return None
        trials = self._journal.record.trials.values()
        return {name for trial in trials for name in trial.checkpoints.values()}


@contextlib.contextmanager
def hold(folder: Path, *, download: bool) -> Iterator[RunSync]:
    """Have a run in hand during the block, downloaded first where that is asked for.

    Raises StorageError where another process has it, or its storage cannot be used.
    """
    storage = run_storage(folder)
    with storage.lock(STOP) as lock:
        if download:
            storage.download_run(
                required=JOURNAL, skipped=STOP, folders=(*FOLDERS, *LOG_FOLDERS), checkpoints=TUNE
            )
        sync = RunSync(storage, lock)
        try:
            yield sync
        except BaseException:
            with contextlib.suppress(StorageError):
                sync.send(with_logs=True)
            raise
        sync.send(with_logs=True)
