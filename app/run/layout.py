"""Layout of a run's folder: names of its files and folders, beside those that experiments know."""

from pathlib import Path

EXPERIMENT = "experiment.json"
LOGS = "logs"
"""The folder with a log for each trial."""
TRIALS = "trials"
"""The folder with a folder for each trial that needs one."""
TUNE = "tune"
"""Ray Tune's folder, which has the checkpoints."""
STUDY = "study.log"
"""The Optuna study, for `optuna-dashboard`."""
MODEL = "model"
"""The folder of the run's model."""
EVALUATION = "evaluation.json"
"""The file in a model folder with what the export measured, for the report."""
WEIGHTS = "weights.safetensors"
"""The file of the best trial's weights, if no model can be made of it."""
STOP = "stop"
"""The file that asks the process that has the run in hand to end it."""


def log_path(folder: Path, trial_id: str) -> Path:
    """Return the path of a trial's log in a run's folder."""
    return folder / LOGS / f"{trial_id}.log"


def trial_folder(folder: Path, trial_id: str) -> Path:
    """Return the path of a trial's own folder in a run's folder."""
    return folder / TRIALS / trial_id
