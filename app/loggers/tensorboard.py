"""TensorBoard: each trial's curves, and its hyperparameters beside its best values.

`tensorboard --logdir runs/NAME/tensorboard` shows them. The files are written by tensorboardX,
which comes with Ray Tune and imports torch; its `SummaryWriter` would start two threads a trial.
"""

import time
from collections.abc import Iterable

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event as Entry
from tensorboardX.proto.event_pb2 import SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.summary import hparams, scalar

from app.experiment.schema import Experiment
from app.loggers.following import scalars
from app.run.events import Event
from app.run.journal import Journal
from app.run.layout import TENSORBOARD


class TensorBoardLogger:
    """Writes event files below the run's folder."""

    def __init__(self, journal: Journal, experiment: Experiment) -> None:
        """Write to the folder of the journal's run."""
        self._journal = journal
        self._files: dict[str, EventsWriter] = {}

    def on_event(self, event: Event) -> None:
        """Write an epoch's metrics, or a trial's hyperparameters at its end."""
        kind = event["event"]
        if kind == "epoch":
            self._write_epoch(event)
        elif kind == "end":
            self._write_end(event)
        if kind in ("back", "end") and event["trial_id"] in self._files:
            self._files.pop(event["trial_id"]).close()

    def close(self) -> None:
        """Close the files of trials that have not ended."""
        for file in self._files.values():
            file.close()

    def _write_epoch(self, event: Event) -> None:
        trial_id, number = event["trial_id"], event["epoch"]
        if trial_id not in self._files:
            # An earlier attempt at this epoch, and what came after it, are not shown any more.
            start = SessionLog(status=SessionLog.START)
            entry = Entry(wall_time=event["time"], step=number, session_log=start)
            self._file(trial_id).write_event(entry)
        curves = (scalar(name, value) for name, value in scalars(event["metrics"]).items())
        self._write(trial_id, event["time"], number, curves)
        self._file(trial_id).flush()

    def _write_end(self, event: Event) -> None:
        trial_id = event["trial_id"]
        trial = self._journal.record.trials[trial_id]
        if trial.best_epoch is not None:
            values = scalars(trial.best_epoch.metrics).items()
            best = {f"best/{name}": value for name, value in values}
            self._write(trial_id, event["time"], 0, hparams(trial.config, best))
            curves = (scalar(name, value) for name, value in best.items())
            self._write(trial_id, event["time"], trial.best_epoch.number, curves)

    def _write(
        self, trial_id: str, wall_time: float, step: int, summaries: Iterable[Summary]
    ) -> None:
        file = self._file(trial_id)
        for summary in summaries:
            file.write_event(Entry(wall_time=wall_time, step=step, summary=summary))

    def _file(self, trial_id: str) -> EventsWriter:
        if trial_id not in self._files:
            folder = self._journal.folder / TENSORBOARD / trial_id
            folder.mkdir(parents=True, exist_ok=True)
            # TensorBoard reads files by their names, which have the second alone.
            suffix = f".{time.time_ns()}"
            self._files[trial_id] = EventsWriter(str(folder / "events"), suffix)
        return self._files[trial_id]
