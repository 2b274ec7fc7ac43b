"""Export of a run's model: at the end of a search, or later, of any trial."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from app.cluster import home_directory
from app.engine.attempt import open_journal
from app.engine.outcome import RunError
from app.engine.preparation import prepare_export
from app.engine.run_report import write_report
from app.export.model_exporter import ModelExporter
from app.export.trial_models import NoModelError
from app.run import run_sync, store
from app.run.layout import MODEL
from app.run.record import Record
from app.run.store import Run, StoreError
from app.run.trial import Trial
from app.storage.working_copy import location
from serve.models.manifest import MANIFEST

log = logging.getLogger(__name__)


def export_best(exporter: ModelExporter, best: Trial, say: Callable[[str], None]) -> None:
    """Export the best trial, and say what the user should know of the model.

    Where that fails the journal has the reason, and the search is complete all the same.
    """
    try:
        model = exporter.export_best(best)
    except NoModelError as error:
        if not error.is_fault:
            say(str(error))
        return
    say(f"exported trial {best.trial_id}")
    for remark in model.remarks:
        say(f"trial {best.trial_id}: {remark}")


def export_missing(earlier: Run, say: Callable[[str], None]) -> Record:
    """Try once more to export the best trial of a complete run, and return the run's record."""
    with _exporter(earlier) as exporter:
        best = exporter.journal.record.best
        if best is not None:
            say(f"exporting trial {best.trial_id}")
            export_best(exporter, best, say)
            write_report(exporter.journal, say)
        return exporter.journal.record


def export_again(earlier: Run, trial_id: str | None, to: Path | None = None) -> Path:
    """Export a trial of a run that no process has in hand.

    Args:
        earlier: The run.
        trial_id: The trial; None for the best one.
        to: The model folder; None to replace the run's own model.

    Returns:
        The model folder.

    Raises:
        StoreError: There is no such trial.
        RunError: The trial has no model, or `to` has other files in it.
    """
    if trial_id is not None:
        trial_id = store.find_trial(earlier, trial_id)
    if to is not None:
        _check_target(to)
    with _exporter(earlier) as exporter:
        record = exporter.journal.record
        trial = record.best if trial_id is None else record.trials.get(trial_id)
        if trial is None:
            known = ", ".join(trial.trial_id for trial in record.in_order()) or "none"
            asked = "best trial" if trial_id is None else f"trial {trial_id!r}"
            raise StoreError(f"{earlier.name}: there is no {asked}; its trials: {known}")
        try:
            if to is not None:
                exporter.export(trial, to)
            elif trial is record.best:
                exporter.export_best(trial)
            else:
                exporter.export_other(trial)
            if to is None:
                write_report(exporter.journal, log.warning)
        except NoModelError as error:
            raise RunError(f"{error}{_checkpoint_instead(exporter, trial)}") from error
    return earlier.folder / MODEL if to is None else to


def _checkpoint_instead(exporter: ModelExporter, trial: Trial) -> str:
    """Name the checkpoint of a trial whose class or function has no model to export."""
    best = trial.best_epoch
    if exporter.has_model or best is None:
        return ""
    checkpoint = trial.checkpoints.get(best.number)
    if checkpoint is None:
        return ""
    path = location(exporter.journal.folder / checkpoint)
    return f"; its checkpoint of epoch {best.number} is {path}"


@contextmanager
def _exporter(earlier: Run) -> Iterator[ModelExporter]:
    """Make an exporter for an earlier run, while no other process can have the run in hand."""
    home_directory.ensure_home()
    experiment = store.read_experiment(earlier)
    prepared = prepare_export(experiment, earlier.folder)
    with run_sync.hold(earlier.folder, download=True) as sync:
        journal = open_journal(earlier.folder, experiment)
        try:
            sync.follow(journal)
            yield ModelExporter(journal, experiment, prepared.trainable, prepared.shared)
        finally:
            journal.close()


def _check_target(to: Path) -> None:
    """Raise RunError where a folder is neither new, nor empty, nor a model's."""
    if to.is_dir() and any(to.iterdir()) and not (to / MANIFEST).is_file():
        raise RunError(f"--to: {to} has other files in it; name a new folder, or a model's")
    if to.exists() and not to.is_dir():
        raise RunError(f"--to: {to} is a file; name a folder")
