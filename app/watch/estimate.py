"""Time that a run has taken and has left, as the terminal estimates it, at any later moment."""

import time

from app.engine.plan import RunState
from app.engine.time_left import TimeLeft
from app.experiment.run_folder import JOURNAL
from app.run import journal_reader, store
from app.run.store import Run


class Estimate:
    """Estimate from the times in a run's journal; raises StoreError or JournalError."""

    def __init__(self, run: Run) -> None:
        self._seconds = 0.0
        """The clock of the estimate: seconds of the run."""
        self._last = 0.0
        """Its seconds at the last event."""
        self._at = time.time()
        """The time of the last event."""
        record = store.empty_record(run.folder)
        self._left = TimeLeft(
            RunState(store.read_experiment(run), record), clock=lambda: self._seconds
        )
        for event in journal_reader.read_events(run.folder / JOURNAL):
            record.apply(event)
            self._seconds, self._at = event["run_seconds"], event.get("time", self._at)
            if "trial_id" in event:
                self._left.update(event["event"], record.trials[event["trial_id"]])
        self._last = self._seconds

    def now(self) -> tuple[float, str]:
        """Return the seconds that the run has taken, and what is left in words or nothing."""
        self._seconds = self._last + max(0.0, time.time() - self._at)
        return self._seconds, self._left.describe()
