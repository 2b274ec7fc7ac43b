"""When a run and its trials began and ended."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.experiment.run_folder import JOURNAL
from app.run import timeline
from app.run.journal import Journal
from app.run.record import Record
from app.run.timeline import Span, Timeline


def at(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)


def timeline_of(*events: tuple[str, float | None, str | None]) -> Timeline:
    """A timeline of events of these kinds, at these times, of these trials."""
    line = Timeline()
    for kind, time, trial in events:
        event: dict[str, Any] = {"event": kind}
        line.apply(
            event | ({"time": time} if time else {}) | ({"trial_id": trial} if trial else {})
        )
    return line


def test_a_resumed_trial_began_when_it_first_did_and_has_not_ended() -> None:
    line = timeline_of(("run", 1, None), ("trial", 2, "001"), ("status", 3, None))
    assert (line.run, line.trials["001"]) == (Span(at(1), at(3)), Span(at(2)))
    for kind, time, trial in (("run", 11, None), ("trial", 12, "001"), ("epoch", 13, "001")):
        line.apply({"event": kind, "time": time} | ({"trial_id": trial} if trial else {}))
    assert (line.run, line.trials["001"], line.latest) == (Span(at(1)), Span(at(2)), at(13))
    line.apply({"event": "end", "time": 14, "trial_id": "001"})
    assert line.trials["001"] == Span(at(2), at(14))


def test_of_a_journal_of_an_older_version_nothing_is_known() -> None:
    assert timeline_of(("run", None, None), ("trial", None, "001")).trials == {"001": Span()}


def test_a_journal_tells_the_time_of_every_event(tmp_path: Path) -> None:
    before = datetime.now(UTC)
    journal = Journal(tmp_path, Record("one", "loss", "min", seed=0))
    journal.append("run", versions={})
    journal.close()
    line = timeline.read(tmp_path)
    assert line.run.began is not None
    assert before <= line.run.began <= datetime.now(UTC)
    assert "time" in json.loads((tmp_path / JOURNAL).read_text())
    assert timeline.read(tmp_path / "elsewhere") == Timeline()
