"""Beginning of an attempt: a new run's folder and journal, or those of a run that goes on."""

import errno
import importlib.metadata
import json
import platform
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.experiment.errors import ExperimentError
from app.experiment.run_folder import CODE
from app.experiment.schema import Experiment
from app.run import store
from app.run.errors import JournalError
from app.run.journal import Journal
from app.run.layout import EXPERIMENT, TUNE
from app.run.record import Record
from app.run.status import TrialStatus
from app.run.store import StoreError
from app.search.stoppers import apply_stoppers
from app.storage.files import PARTIAL, new_folder, replace_file
from app.storage.run_storage import run_storage

RECORDED = ("ray", "torch", "optuna")
"""Packages whose versions a run records."""
TAKEN = (errno.ENOTEMPTY, errno.EEXIST)
"""Errors of a rename to a folder that is there, with something in it."""


def begin(folder: Path, experiment: Experiment, used: Mapping[str, Any]) -> Journal:
    """Make a new run's folder, which is whole from the first moment that it is there.

    Args:
        folder: The run's folder.
        experiment: The experiment, as it is recorded.
        used: What `experiment.json` says beside: the threads of a trial, and digests of data.
    """
    with _new_folder(folder) as partial:
        _write_experiment(partial, experiment, used)
        experiment.kind.copy_code(partial / CODE)
        journal = Journal(partial, store.new_record(folder, experiment))
        journal.append("run", versions=versions())
    journal.folder = folder
    return journal


def resume(folder: Path, experiment: Experiment, used: Mapping[str, Any]) -> Journal:
    """Open an earlier run's journal, and record what is asked of the run from now on.

    Raises ExperimentError where the data, or a script, is not what the run began with.
    """
    earlier = store.read(folder)
    before = store.read_table(earlier).get("data", used["data"])
    if not isinstance(before, dict):
        raise StoreError(f"cannot read {folder / EXPERIMENT}: data cannot be {before!r:.60}")
    if before != used["data"]:
        what = "script" if before.get("script") != used["data"].get("script") else "data"
        raise ExperimentError(
            f"--resume {folder.name}: its {what} has changed since it began; begin a new run"
        )
    epochs = store.read_experiment(earlier).epochs
    journal = open_journal(folder, experiment)
    _remove_leftovers(folder, journal.record)
    _end_complete_trials(journal, experiment.kind.last_epoch)
    if not experiment.kind.keeps_checkpoints:
        _rewind_lost_checkpoints(journal)
    journal.append("run", versions=versions())
    _extend_completed_trials(journal, experiment, epochs)
    # Last: until all of that is recorded, the run is one whose epochs may still be raised.
    _write_experiment(folder, experiment, used)
    return journal


def open_journal(folder: Path, experiment: Experiment) -> Journal:
    """Open the journal in a folder, with the record of what it says already."""
    with store.suggest_repair(folder):
        return Journal(folder, store.new_record(folder, experiment), must_exist=True)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a run is made with."""
    installed = {name: importlib.metadata.version(name) for name in RECORDED}
    return {"python": platform.python_version(), **installed}


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A folder to be filled, which then takes its name.

    Raises JournalError where it cannot, StoreError where another run took the name meanwhile.
    """
    try:
        with new_folder(folder) as partial:
            yield partial
    except OSError as error:
        if error.errno in TAKEN:
            raise store.name_taken(folder) from error
        raise JournalError(f"cannot make {folder}: {error.strerror}") from error


def _write_experiment(folder: Path, experiment: Experiment, used: Mapping[str, Any]) -> None:
    table = {**experiment.as_json(), **used}
    path = folder / EXPERIMENT
    try:
        replace_file(path, json.dumps(table, indent=2) + "\n", durable=True)
    except OSError as error:
        raise JournalError(f"cannot write {path}: {error.strerror}") from error


def _remove_leftovers(folder: Path, record: Record) -> None:
    """Remove what a crash left half-written, and checkpoints that it kept from being removed."""
    trials = record.trials.values()
    known = {folder / path for trial in trials for path in trial.checkpoints.values()}
    for path in (*folder.glob(f"*{PARTIAL}"), *folder.glob(f"{TUNE}/*/checkpoint_*")):
        if path.is_dir() and path not in known:
            shutil.rmtree(path, ignore_errors=True)
        elif not path.is_dir():
            path.unlink(missing_ok=True)


def _end_complete_trials(journal: Journal, last_epoch: int | None) -> None:
    """End the trials whose last epoch is recorded: a crash came before the record of their end."""
    for trial in journal.record.in_order():
        is_over = trial.is_over or (last_epoch is not None and trial.epochs >= last_epoch)
        if is_over and not trial.is_finished:
            journal.append("end", trial_id=trial.trial_id, status=TrialStatus.COMPLETED, error=None)


def _extend_completed_trials(journal: Journal, experiment: Experiment, before: int) -> None:
    """Let trials that completed all epochs asked for before go on to those asked for now.

    Those that ended by themselves stay as they are, and so do those whose last checkpoint is gone.
    """
    if experiment.epochs <= before:
        return
    # Patience and convergence count anew then; a target that is reached ends the run as it is.
    limits = experiment.model_copy(update={"patience": None, "convergence": None})
    if apply_stoppers(limits, journal.record, journal.seconds) is not None:
        return
    storage = run_storage(journal.folder)
    for trial in journal.record.in_order():
        is_whole = trial.status == TrialStatus.COMPLETED and trial.epochs >= before
        has_state = not trial.saved or storage.has_folder(trial.saved[0][1])
        if is_whole and not trial.is_over and has_state:
            journal.append("extend", trial_id=trial.trial_id)


def _rewind_lost_checkpoints(journal: Journal) -> None:
    """Let trials whose latest checkpoint is gone go on from the one before, or begin again."""
    storage = run_storage(journal.folder)
    for trial in journal.record.in_order():
        if trial.is_finished or not trial.saved:
            continue
        latest, _ = trial.saved[0]
        epoch = next((epoch for epoch, name in trial.saved if storage.has_folder(name)), 0)
        if epoch < latest:
            reason = f"its checkpoint of epoch {latest} is gone"
            journal.append("back", trial_id=trial.trial_id, epoch=epoch, reason=reason)
