"""Removal of what a run leaves where it is refused, or where its folder was moved."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.run.commands import resume_command
from app.run.errors import JournalError, MovedError, RefusedError
from app.run.layout import STUDY, TENSORBOARD, TUNE, WANDB
from app.storage.files import PARTIAL
from app.storage.run_storage import run_storage
from app.storage.trial_files import LOGS, TRIALS
from trainables.contract import PromiseError

WRITTEN_LATE = (TUNE, TRIALS, LOGS, STUDY, TENSORBOARD, WANDB)
"""Names that Ray, loggers and the processes of trials write where they think that the run is."""


@contextmanager
def removed_if_refused(folder: Path, *, is_new: bool) -> Iterator[None]:
    """Remove a new run whose trainable is refused before it trains, so that its name stays free."""
    try:
        yield
    except PromiseError:
        if is_new:
            run_storage(folder).remove()
        raise


@contextmanager
def remedy_named(folder: Path, address: str | None) -> Iterator[None]:
    """Name the command that goes on with a run: from where it was moved, or with room again.

    Args:
        folder: The run's folder.
        address: The address of the cluster that the command joined, if it joined one.
    """
    try:
        yield
    except RefusedError as refused:
        command = resume_command(folder, address)
        raise JournalError(f"{refused}; go on by: {command}") from refused
    except MovedError as moved:
        # Nothing writes to the old place any more.
        _remove_remains(moved.folder)
        remedy = (
            "put it back, go on by --resume where it was copied to, or begin a new run"
            if moved.now is None
            else f"go on by: {resume_command(moved.now, address)}"
        )
        raise JournalError(f"{moved}; {remedy}") from moved


def _remove_remains(folder: Path) -> None:
    """Remove what was written where a run is no more, and nothing else."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    if all(name in WRITTEN_LATE or PARTIAL in name for name in names):
        shutil.rmtree(folder, ignore_errors=True)
