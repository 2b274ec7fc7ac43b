"""Summaries of runs: one row for each, as `app.runs list` prints them."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from app.experiment.run_folder import JOURNAL
from app.run import store
from app.run.errors import JournalError
from app.run.events import Event, parse_event
from app.run.layout import EXPERIMENT
from app.run.record import as_utc
from app.run.status import SUCCESSFUL
from app.run.store import Run, StoreError
from app.storage.remote_folder import StorageError

Row = dict[str, Any]
"""A run's outcome without its trials: `trials` says how many, `finished` how many of them ended."""

UNREADABLE = "unreadable"
"""Status of a run whose files cannot be read."""
DETAILS = ("trials", "lost_nodes", "versions")
"""Keys of a run's outcome that its row leaves out."""


def summaries(runs: Path) -> list[Row]:
    """Read every run in a folder and return a row for each, the newest run first.

    A row says in `began` when its run was begun, and in `experiment` what that is called; both
    are None where nobody knows. A run that cannot be read has the status `unreadable`, and the
    reason in `error`.
    """
    rows = [_read(runs / name) for name in store.names(runs)]
    return sorted(rows, key=lambda row: row["began"] or "", reverse=True)


def row(run: Run) -> Row:
    """Summarise a run: its outcome without its trials, which are counted."""
    outcome = {key: value for key, value in run.result.items() if key not in DETAILS}
    trials = run.result["trials"]
    finished = sum(trial["status"] in SUCCESSFUL for trial in trials)
    return {**outcome, "trials": len(trials), "finished": finished}


def model_remark(result: Mapping[str, Any]) -> str:
    """Say which trial and epoch a run's model comes from, if not from the best ones."""
    source, best = result["model_of"], result["best"]
    if source is None:
        return ""
    if best is None:
        return f"trial {source['trial_id']}; there is no best"
    if source["trial_id"] != best["trial_id"]:
        return f"trial {source['trial_id']}, not the best"
    if source["epoch"] not in (None, best["epoch"]):
        return f"epoch {source['epoch']}, the last; the best was epoch {best['epoch']}"
    return ""


def _read(folder: Path) -> Row:
    try:
        found = row(store.read(folder))
    except (JournalError, StorageError, StoreError) as error:
        found = {"name": folder.name, "status": UNREADABLE, "error": str(error)}
    began = found.get("began") or _began(folder)
    return {**found, "began": began, "experiment": _experiment(folder)}


def _began(folder: Path) -> str | None:
    """The time in UTC of a run's first event, where its outcome does not say it.

    That of its latest attempt, where its journal is not here.
    """
    began = as_utc(_first_event(folder).get("time"))
    if began is None:
        with suppress(OSError):
            began = as_utc((folder / EXPERIMENT).stat().st_mtime)
    return began


def _first_event(folder: Path) -> Event:
    """The first event of a run's journal, which a copy of a run behind a URI may lack."""
    try:
        with (folder / JOURNAL).open("rb") as journal:
            return parse_event(journal.readline())
    except (OSError, ValueError):
        return {}


def _experiment(folder: Path) -> str | None:
    try:
        name = store.read_table(Run(folder, {})).get("name")
    except StoreError:
        return None
    return name if isinstance(name, str) else None
