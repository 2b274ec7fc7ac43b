"""Export of the best model so far, in the background while a search goes on.

Errors of a user's code become a line in the terminal: the search always goes on.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

from app.export import script_model
from app.export.export_check import failure
from app.export.model_exporter import MODEL, ExportedModel, ModelExporter
from app.export.trial_snapshot import TrialEpoch, best_epoch_of, copy_snapshot
from app.export.user_code import ExportError
from app.run.trial import Trial
from app.storage.remote_folder import PlaceError


@dataclass(frozen=True)
class _Job:
    """An export that is waiting to be done."""

    best: TrialEpoch
    export: Callable[[], ExportedModel]
    delete: Callable[[], None]
    """Deletes the files that the export needs."""


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
        self._waiting: _Job | None = None
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
        is_script = self._exporter.experiment.script is not None
        # A script saves its model when it ends; other trials have one after each epoch.
        if trial is None or event not in ("epoch", "end") or (is_script and not trial.is_finished):
            return
        best = best_epoch_of(trial)
        if best == self._requested:
            return
        self._requested = best
        try:
            job = self._script_job(trial) if is_script else self._network_job(trial)
        except (ExportError, PlaceError, OSError) as error:
            say(f"trial {best.trial_id} at epoch {best.epoch} is not exported: {error}")
            return
        with self._lock:
            superseded, self._waiting = self._waiting, job
            if not self._is_working:
                self._is_working = True
                self._future = background.submit(self._work)
        if superseded is not None:
            superseded.delete()

    def finish(self, say: Callable[[str], None], timeout_s: float | None = None) -> None:
        """Drop the export that waits, and wait up to `timeout_s` for the one in progress."""
        with self._lock:
            dropped, self._waiting = self._waiting, None
        if dropped is not None:
            dropped.delete()
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
        while True:
            with self._lock:
                job, self._waiting = self._waiting, None
                self._is_working = job is not None
            if job is None:
                return
            name = f"trial {job.best.trial_id} at epoch {job.best.epoch}"
            try:
                self._model = job.export()
                self.exported = job.best
                message = f"exported {name}, the best so far"
            except BaseException as error:
                message = f"{name} is not exported: {failure(error)}"
            finally:
                job.delete()
            with self._lock:
                self._messages.append(message)

    def _script_job(self, trial: Trial) -> _Job:
        run, copy = self._exporter.journal.folder, replace(trial)

        def export() -> ExportedModel:
            self._wait_for_upload(copy.trial_id)
            epoch = script_model.export_script(run, self._exporter.experiment, copy, self._folder)
            return ExportedModel(copy.trial_id, epoch)

        return _Job(best_epoch_of(trial), export, lambda: None)

    def _network_job(self, trial: Trial) -> _Job:
        from app.export.onnx_model import export_onnx

        copy, delete = copy_snapshot(self._exporter.snapshot(trial))

        def export() -> ExportedModel:
            remarks = export_onnx(copy, self._folder).remarks
            return ExportedModel(copy.trial.trial_id, copy.epoch.number, remarks)

        return _Job(best_epoch_of(trial), export, delete)
