"""Exceptions of a trainable: which fail its trial, and which end the trial's process."""

from pathlib import Path

from app.storage.remote_folder import StorageError
from trainables.contract import ProgramFailed, ProgramKilled, TrainableError
from trainables.errors import reason, trial_log
from trainables.errors.disk_full import DiskFull, find_disk_full

FAILURES = (Exception, SystemExit, KeyboardInterrupt)
"""Exceptions that end the trial that raises them; Ray would take the latter two for its own."""


def process_error(error: BaseException, folder: Path, *, retried: bool) -> BaseException | None:
    """The exception with which a trial's process ends; None where only the trial fails.

    Tune then starts the trial again, or the run ends. The exception is pickled on its way, so that
    what a user may have made of one stays in the process.

    Args:
        error: What the trainable raised.
        folder: A folder in which it may have been writing, by which a full disk is known.
        retried: Whether Tune is to start the trial again after any exception.
    """
    if isinstance(error, (StorageError, reason.TrialFailure, DiskFull)) or _is_rays(error):
        return error
    if full := find_disk_full(error, folder):
        return full
    if isinstance(error, ProgramKilled):
        return error
    if not retried:
        return None
    if isinstance(error, TrainableError):
        return error if isinstance(error, ProgramFailed) else None
    return reason.TrialFailure(reason.describe(error))


def log_trace(error: BaseException) -> None:
    """Write where a failure came from into the trial's log; a sentence of ours needs none."""
    if not isinstance(error, TrainableError):
        trial_log.print_trace()


def _is_rays(error: BaseException) -> bool:
    """Whether an exception ends this process because Ray, or a signal that Ray handles, says so."""
    return hasattr(error, "ray_terminate_msg")
