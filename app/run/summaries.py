"""All runs, a row each; what was read of them before is kept, so that thousands list at once."""

import json
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from app.run import store
from app.run.journal import JournalError, write_whole
from app.run.store import Run, StoreError
from app.storage.remote_folder import PlaceError

Row = dict[str, Any]
"""A run's outcome without its trials: `trials` says how many, `finished` how many of them ended."""

KEPT = ".summaries"
"""The file in the place for runs that keeps rows; whatever is wrong with it, it is written anew."""
SHAPE = 2
"""Counts the shapes that rows have had, as rows of another shape are of no use."""
DETAILS = ("trials", "lost_nodes", "versions")
"""What of a run's outcome is not in its row."""
UNSETTLED = ("running", "unreadable")
SETTLED_NS = 2 * 10**9
"""A file that is younger may be replaced with no change in its time or size."""


def summaries(runs: Path) -> list[Row]:
    """Every run's row, the newest run first.

    One that cannot be read has the status `unreadable`, and why in `error`.
    """
    before = _kept(runs)
    now = time.time_ns()
    rows, settled = [], {}
    for name, file in store.results(runs).items():
        stamp = [file.st_mtime_ns, file.st_size]
        known = before.get(name)
        row = known[1] if known and known[0] == stamp else _read(runs / name)
        if row["status"] not in UNSETTLED and now - file.st_mtime_ns > SETTLED_NS:
            settled[name] = [stamp, row]
        rows.append(row)
    if settled != before:
        _keep(runs, settled)
    return sorted(rows, key=lambda row: _began(runs / row["name"]), reverse=True)


def row(run: Run) -> Row:
    """A run in a line: its outcome without its trials."""
    outcome = {key: value for key, value in run.result.items() if key not in DETAILS}
    trials = run.result["trials"]
    finished = sum(trial["status"] in ("completed", "stopped") for trial in trials)
    return {**outcome, "trials": len(trials), "finished": finished}


def model_remark(result: Mapping[str, Any]) -> str:
    """Say of which trial and epoch a run's model is, where those are not the best ones'."""
    of, best = result["model_of"], result["best"]
    if of is None:
        return ""
    if best is None:
        return f"trial {of['trial_id']}; there is no best"
    if of["trial_id"] != best["trial_id"]:
        return f"trial {of['trial_id']}, not the best"
    if of["epoch"] not in (None, best["epoch"]):
        return f"epoch {of['epoch']}, the last; the best was epoch {best['epoch']}"
    return ""


def _read(folder: Path) -> Row:
    try:
        return row(store.read(folder))
    except (JournalError, PlaceError, StoreError) as error:
        return {"name": folder.name, "status": "unreadable", "error": str(error)}


def _began(folder: Path) -> float:
    try:
        return (folder / store.EXPERIMENT).stat().st_mtime
    except OSError:
        return 0.0


def _keep(runs: Path, settled: dict[str, Any]) -> None:
    """Write the rows; where that cannot be done, they are read from the runs again next time."""
    body = json.dumps(settled, separators=(",", ":"))
    with suppress(JournalError, OSError):
        write_whole(runs / KEPT, f"{_head(body.encode())}\n{body}")


def _kept(runs: Path) -> dict[str, Any]:
    """What was written, whole and of today's shape, or nothing."""
    try:
        head, _, body = (runs / KEPT).read_bytes().partition(b"\n")
        return dict(json.loads(body)) if head == _head(body).encode() else {}
    except (OSError, ValueError):
        return {}


def _head(body: bytes) -> str:
    return f"{SHAPE} {zlib.crc32(body)}"
