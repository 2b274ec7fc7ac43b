"""Export of the best model so far, in the background while a search goes on.

Errors of a user's code become a line in the terminal: the search always goes on.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from app.export.export_check import failure
from app.export.model_exporter import ModelExporter
from app.export.trial_models import ExportedModel, ExportJob
from app.export.trial_snapshot import TrialEpoch, best_epoch_of
from app.export.user_code import ExportError
from app.run.layout import MODEL
from app.storage.remote_folder import StorageError


class BestModelExport:
    """Exports the best model whenever it improves: one at a time, only the latest that waits.

    The exports run in a background thread; all methods are for the thread of the search.
    """

    def __init__(self, exporter: ModelExporter, wait_for_upload: Callable[[str], None]) -> None:
        """Export to the run's own model folder.

        Args:
            exporter: Exports the run's trials.
            wait_for_upload: Returns once the files that a trial's script saved are complete.
        """
        self._exporter = exporter
        self._folder = exporter.journal.folder / MODEL
        self._wait_for_upload = wait_for_upload
        self._lock = threading.Lock()
        self._waiting: ExportJob | None = None
        self._is_working = False
        self._future: Future[None] | None = None
        self._requested: TrialEpoch | None = None
        self._messages: list[str] = []
        self._model: ExportedModel | None = None
        self._recorded: ExportedModel | None = None
        self.exported: TrialEpoch | None = None
        """The trial and the epoch of the run's model, if this exported it."""

    def on_event(
        self, event: str, background: ThreadPoolExecutor, say: Callable[[str], None]
    ) -> None:
        """Request an export if the best model has improved; called after every event of a trial."""
        self._report(say)
        trial = self._exporter.journal.record.best
        if event not in ("epoch", "end") or trial is None:
            return
        models = self._exporter.models
        if not models.is_ready(trial):
            return
        best = best_epoch_of(trial)
        if best == self._requested:
            return
        self._requested = best
        try:
            job = models.export_job(trial, self._wait_for_upload)
        except (ExportError, StorageError, OSError) as error:
            say(f"trial {best.trial_id} at epoch {best.epoch} is not exported: {error}")
            return
        with self._lock:
            superseded, self._waiting = self._waiting, job
            if not self._is_working:
                self._is_working = True
                self._future = background.submit(self._work)
        if superseded is not None:
            superseded.delete_files()

    def finish(self, say: Callable[[str], None], timeout_s: float | None = None) -> None:
        """Drop the export that waits, and wait up to `timeout_s` for the one in progress."""
        with self._lock:
            dropped, self._waiting = self._waiting, None
        if dropped is not None:
            dropped.delete_files()
        if self._future is not None:
            wait([self._future], timeout_s)
        self._report(say)

    def _report(self, say: Callable[[str], None]) -> None:
        """Show what the background thread did since the last call, and record its model."""
        with self._lock:
            messages, self._messages = self._messages, []
        for message in messages:
            say(message)
        model = self._model
        if model is not None and model != self._recorded:
            self._recorded = model
            for remark in model.remarks:
                say(f"trial {model.trial_id}: {remark}")
            self._exporter.record_best(model)

    def _work(self) -> None:
        """Do the jobs that wait, one after the other, in the background thread."""
        while (job := self._next_job()) is not None:
            best = job.trial_epoch
            name = f"trial {best.trial_id} at epoch {best.epoch}"
            try:
                self._model = job.export(self._folder)
                self.exported = best
                message = f"exported {name}, the best so far"
            except BaseException as error:
                message = f"{name} is not exported: {failure(error)}"
            finally:
                job.delete_files()
            with self._lock:
                self._messages.append(message)

    def _next_job(self) -> ExportJob | None:
        with self._lock:
            job, self._waiting = self._waiting, None
            self._is_working = job is not None
        return job
