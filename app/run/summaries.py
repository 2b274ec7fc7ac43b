"""Summaries of runs: one row for each, as `app.runs list` prints them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.run import store
from app.run.errors import JournalError
from app.run.layout import EXPERIMENT
from app.run.status import SUCCESSFUL
from app.run.store import Run, StoreError
from app.storage.remote_folder import StorageError

Row = dict[str, Any]
"""A run's outcome without its trials: `trials` says how many, `finished` how many of them ended."""

DETAILS = ("trials", "lost_nodes", "versions")
"""Keys of a run's outcome that its row leaves out."""


def summaries(runs: Path) -> list[Row]:
    """Read every run in a folder and return a row for each, the newest run first.

    A run that cannot be read has the status `unreadable`, and the reason in `error`.
    """
    rows = [_read(runs / name) for name in store.names(runs)]
    return sorted(rows, key=lambda row: _began(runs / row["name"]), reverse=True)


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
        return row(store.read(folder))
    except (JournalError, StorageError, StoreError) as error:
        return {"name": folder.name, "status": "unreadable", "error": str(error)}


def _began(folder: Path) -> float:
    try:
        return (folder / EXPERIMENT).stat().st_mtime
    except OSError:
        return 0.0
