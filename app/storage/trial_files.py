"""Names of the folders and files that trials write below a run's folder."""

from pathlib import Path

LOGS = "logs"
"""The folder with a log for each trial."""
TRIALS = "trials"
"""The folder with a folder for each trial that needs one."""


def log_path(folder: Path, trial_id: str) -> Path:
    """Return the path of a trial's log in a run's folder."""
    return folder / LOGS / f"{trial_id}.log"


def trial_folder(folder: Path, trial_id: str) -> Path:
    """Return the path of a trial's own folder in a run's folder."""
    return folder / TRIALS / trial_id
