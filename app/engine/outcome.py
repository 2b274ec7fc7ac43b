"""How a run ended: its status in the journal, and why there is no best trial."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from app.cluster.signals import Interrupted
from app.run.errors import JournalError
from app.run.formatting import count
from app.run.journal import Journal
from app.run.record import Record
from app.run.status import RunStatus, TrialStatus

if TYPE_CHECKING:
    from app.search.stoppers import Ending

REASONS = 3
"""Number of different reasons for failed trials that a run without a best one names."""


class RunError(Exception):
    """A run that ended without what it was for, in one sentence."""


class NoBestError(RunError):
    """A run without a best trial: why, and the command that exports what a failed one had."""

    def __init__(self, why: str, hints: Sequence[str]) -> None:
        super().__init__("; ".join([why, *hints]))
        self.why = why


@contextmanager
def failure_recorded(journal: Journal) -> Iterator[None]:
    """Record in the journal whatever ends the search, before it is raised."""
    try:
        yield
    except Interrupted as interrupt:
        journal.reload()
        record_status(journal, RunStatus.INTERRUPTED, str(interrupt))
        raise
    except Exception as error:
        # Where the disk is full this cannot be written either; the first error is the one to show.
        with suppress(JournalError):
            record_status(journal, RunStatus.FAILED, failure_reason(error))
        raise


def failure_reason(error: Exception) -> str:
    """Why a run failed: one line without commands, which would be wrong once the run is moved."""
    sentence = error.why if isinstance(error, NoBestError) else str(error)
    return sentence.strip().split("\n", 1)[0] or type(error).__name__


def record_status(journal: Journal, status: RunStatus, reason: str | None) -> None:
    """Record the run's status in its journal."""
    journal.append("status", status=status, reason=reason)


def why_no_best(record: Record, ending: "Ending | None") -> str:
    """Say in one sentence why there is no best trial."""
    failed = [trial for trial in record.trials.values() if trial.status == TrialStatus.FAILED]
    if ending is not None and len(failed) < max(1, len(record.trials)):
        return f"the run ended before any trial reported {record.metric}: {ending.reason}"
    if not failed:
        return f"no trial reported a finite {record.metric}"
    reasons = Counter((trial.error or "").split("\n", 1)[0] for trial in failed)
    named = [reason for reason, _ in reasons.most_common(REASONS)]
    if (left_out := len(reasons) - len(named)) > 0:
        named.append(f"and for {count(left_out, 'other reason')}")
    all_of_them = {1: "the only trial", 2: "both trials"}
    failing = all_of_them.get(len(failed), f"all {len(failed)} trials")
    return f"{failing} failed: {'; '.join(named)}"
