"""Synchronisation of a run with its storage: downloaded once, uploaded after each event."""

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from app.experiment.run_folder import CODE, JOURNAL
from app.run.journal import Journal
from app.run.layout import STOP, STUDY, TUNE
from app.run.result_file import RESULT
from app.storage.files import PARTIAL
from app.storage.remote_folder import StorageError
from app.storage.run_storage import Held, RunStorage, Upload, run_storage

STUDY_INTERVAL_S = 10.0
"""The time between uploads of the study, which grows, while trials go on."""
FOLDERS = ("model", CODE)
"""The folders of a run that its process writes; trials write the others."""


class RunSync:
    """Sends what a run's process writes to the run's storage."""

    def __init__(self, storage: RunStorage, held: Held) -> None:
        self._storage = storage
        self._held = held
        self._journal: Journal | None = None
        self._study_sent_at = 0.0
        self._lock = threading.Lock()
        """Events may come from several threads."""

    def follow(self, journal: Journal) -> None:
        """Send what is here now, and what has changed after each event of the journal."""
        self._journal = journal
        journal.followers.append(self)
        self.send()

    def send(self, *, with_study: bool = False) -> None:
        """Send what has changed: models before the journal that names them.

        Raises StorageError where that fails, or another process has taken the run.
        """
        with self._lock:
            self.check()
            is_due = with_study or time.monotonic() > self._study_sent_at + STUDY_INTERVAL_S
            self._storage.upload(lambda: self._select(with_study=is_due))
            if is_due:
                self._study_sent_at = time.monotonic()

    def check(self) -> None:
        """Raise StorageError where another process has taken the run."""
        self._held.check()

    def _select(self, *, with_study: bool) -> Upload:
        folder = self._storage.folder
        files = [
            path for path in folder.glob("*") if PARTIAL not in path.name and path.name != STOP
        ]
        for name in FOLDERS:
            files += (folder / name).rglob("*")
        return Upload(
            files,
            last=(JOURNAL, RESULT),
            postponed=() if with_study else (STUDY,),
            checkpoints=self._checkpoints(),
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
    with storage.hold(STOP) as held:
        if download:
            storage.download_run(required=JOURNAL, skipped=STOP, folders=FOLDERS, checkpoints=TUNE)
        sync = RunSync(storage, held)
        try:
            yield sync
        except BaseException:
            with contextlib.suppress(StorageError):
                sync.send(with_study=True)
            raise
        sync.send(with_study=True)
