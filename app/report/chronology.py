"""Seconds of a run at which its trials started, reported and ended, read from its journal.

They count while a process has the run in hand, so that a break before a resumption takes no room.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from app.experiment.run_folder import JOURNAL
from app.run import journal_reader
from app.run.events import Event


class Span(NamedTuple):
    """One start of a trial until it ended or was interrupted, in seconds of the run."""

    trial_id: str
    began_s: float
    ended_s: float


class Report(NamedTuple):
    """An epoch's metrics, and the second of the run at which they came."""

    trial_id: str
    epoch: int
    seconds: float
    metrics: dict[str, Any]


@dataclass
class Chronology:
    """Starts, reports and ends of trials by the seconds of a run; apply events as they come."""

    reports: list[Report] = field(default_factory=list)
    seconds: float = 0.0
    """The latest event's."""
    _closed: list[Span] = field(default_factory=list)
    _open: dict[str, float] = field(default_factory=dict)

    @property
    def spans(self) -> list[Span]:
        """Every start of a trial; those that go on end at the latest event."""
        going_on = [Span(trial, began, self.seconds) for trial, began in self._open.items()]
        return [*self._closed, *going_on]

    def apply(self, event: Event) -> None:
        """Apply one event of the journal."""
        kind, trial_id = event["event"], event.get("trial_id")
        if kind in ("run", "status"):
            # After a crash nothing says when they ended but the event before the resumption.
            until = self.seconds if kind == "run" else event["run_seconds"]
            for interrupted in list(self._open):
                self._close(interrupted, until)
        self.seconds = max(self.seconds, event["run_seconds"])
        if kind == "trial":
            self._open[event["trial_id"]] = self.seconds
        elif kind == "epoch":
            report = Report(event["trial_id"], event["epoch"], self.seconds, event["metrics"])
            self.reports.append(report)
        elif kind == "end" and trial_id in self._open:
            self._close(event["trial_id"], self.seconds)

    def _close(self, trial_id: str, until: float) -> None:
        self._closed.append(Span(trial_id, self._open.pop(trial_id), until))


def read(folder: Path) -> Chronology:
    """Read the chronology of the run in a folder; raises JournalError where that is damaged."""
    chronology = Chronology()
    if (folder / JOURNAL).exists():
        for event in journal_reader.read_events(folder / JOURNAL):
            chronology.apply(event)
    return chronology
