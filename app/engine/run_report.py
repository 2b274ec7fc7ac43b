"""The report of a run at its end: whatever goes wrong with it becomes one sentence."""

from collections.abc import Callable

from app.report import REPORT
from app.run.journal import Journal
from app.run.store import Run


def write_report(journal: Journal, say: Callable[[str], None]) -> None:
    """Write the report of a run that has a trial; its storage is sent all files of the folder."""
    if not journal.record.trials:
        return
    try:
        from app.report.page import write_to

        write_to(Run(journal.folder, journal.record.as_json()), journal.folder / REPORT)
    except Exception as error:
        say(f"this run has no report: {str(error) or type(error).__name__}")
