"""The time at which a run and its trials began and ended, read from the run's journal."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from app.experiment.run_folder import JOURNAL
from app.run import journal_reader
from app.run.events import Event


@dataclass
class Span:
    """Begin and end; None where it has not ended, or an older version wrote the journal."""

    began: datetime | None = None
    ended: datetime | None = None


@dataclass
class Timeline:
    """The spans of a run and of its trials."""

    run: Span = field(default_factory=Span)
    trials: dict[str, Span] = field(default_factory=dict)
    latest: datetime | None = None
    """The time of the latest event."""

    def apply(self, event: Event) -> None:
        """Apply one event."""
        kind = event["event"]
        now = datetime.fromtimestamp(event["time"], UTC) if "time" in event else None
        self.latest = now
        span = self.run
        if "trial_id" in event:
            span = self.trials.setdefault(event["trial_id"], Span())
        if kind in ("run", "trial"):
            span.began, span.ended = span.began or now, None
        elif kind in ("end", "status"):
            span.ended = now


def read(folder: Path) -> Timeline:
    """Read the timeline of the run in a folder; raises JournalError where that is damaged."""
    timeline = Timeline()
    if (folder / JOURNAL).exists():
        for event in journal_reader.read_events(folder / JOURNAL):
            timeline.apply(event)
    return timeline
