"""The report of a run at its end: whatever goes wrong with it becomes one sentence."""

from collections.abc import Callable

from app.run.journal import Journal
from app.run.store import Run


def write_report(journal: Journal, say: Callable[[str], None]) -> None:
    """Write the report of a run that has a trial into its folder."""
    if not journal.record.trials:
        return
    try:
        from app.report.page import write_report as write

        write(Run(journal.folder, journal.record.as_json()))
    except Exception as error:
        say(f"there is no report of this run: {error or type(error).__name__}")
