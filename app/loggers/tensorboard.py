"""TensorBoard: each trial's curves, and its hyperparameters beside its best values.

`tensorboard --logdir runs/NAME/tensorboard` shows them; of a run behind a URI they stay in the
working copy. The writer is tensorboardX, which comes with Ray Tune and imports no torch.
"""

from typing import Any

from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams

from app.experiment.schema import Experiment
from app.loggers.following import scalars
from app.run.events import Event
from app.run.journal import Journal

FOLDER = "tensorboard"
"""Folder of a run with a folder for each trial."""


class TensorBoardLogger:
    """Writes event files below the run's folder."""

    def __init__(self, journal: Journal, experiment: Experiment) -> None:
        """Write to the folder of the journal's run."""
        self._journal = journal
        self._writers: dict[str, Any] = {}

    def on_event(self, event: Event) -> None:
        """Write an epoch's metrics, or a trial's hyperparameters at its end."""
        if event["event"] == "epoch":
            writer = self._writer(event["trial_id"])
            for name, value in scalars(event["metrics"]).items():
                writer.add_scalar(name, value, event["epoch"])
            writer.flush()
        elif event["event"] == "end":
            self._end(event["trial_id"])

    def close(self) -> None:
        """Close the files of trials that have not ended."""
        for writer in self._writers.values():
            writer.close()

    def _writer(self, trial_id: str) -> Any:
        if trial_id not in self._writers:
            folder = self._journal.folder / FOLDER / trial_id
            self._writers[trial_id] = SummaryWriter(str(folder))
        return self._writers[trial_id]

    def _end(self, trial_id: str) -> None:
        trial = self._journal.record.trials[trial_id]
        writer = self._writer(trial_id)
        if trial.best_epoch is not None:
            best = scalars(trial.best_epoch.metrics)
            for summary in hparams(trial.config, {f"best/{name}": v for name, v in best.items()}):
                writer.file_writer.add_summary(summary)
            for name, value in best.items():
                writer.add_scalar(f"best/{name}", value, trial.best_epoch.number)
        self._writers.pop(trial_id).close()
