"""A run as the page shows it: facts as HTML and figures as JSON, made again when it changes."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from app.engine.plan import RunState
from app.engine.time_left import TimeLeft
from app.experiment.run_folder import JOURNAL
from app.report import TEMPLATES as REPORT_TEMPLATES
from app.report.content import content, figures
from app.report.outcome import Outcome
from app.report.page import fetch
from app.run import journal_reader, store
from app.run.commands import run_arguments
from app.run.errors import JournalError
from app.run.formatting import duration
from app.run.layout import MODEL
from app.run.result_file import RESULT
from app.run.status import RunStatus
from app.run.store import Run, StoreError
from app.storage.run_storage import run_storage
from app.storage.working_copy import location
from app.watch import TEMPLATES
from app.watch.endpoint import served_at

FILES = (RESULT, JOURNAL, MODEL)
"""Files whose change is a change of the run."""
IMPORTANCE = "Importance of parameters"
Version = tuple[tuple[int, int], ...]
"""Whether a run goes on, and the times and sizes of its files."""


@dataclass(frozen=True)
class Snapshot:
    """A run at one moment."""

    version: Version
    body: str
    """Its facts, as HTML."""
    figures: str
    """Its figures by title, as JSON."""
    took_s: float
    """Seconds of a processor that this took to make."""


def key_of(found: Version) -> str:
    """Return a version as a browser keeps it."""
    return "-".join(f"{time}.{size}" for time, size in found)


def environment() -> jinja2.Environment:
    """Return the templates of the page and of the report, which escape every value."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader([TEMPLATES, REPORT_TEMPLATES]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def version(folder: Path) -> Version:
    """Return what changes when a run does: its files, and whether a process has it in hand."""
    found = [(int(run_storage(folder).is_running()), 0)]
    for name in FILES:
        try:
            stat = (folder / name).stat()
        except OSError:
            found.append((0, 0))
        else:
            found.append((stat.st_mtime_ns, stat.st_size))
    return tuple(found)


def take(folder: Path, templates: jinja2.Environment) -> Snapshot:
    """Read a run, and make its page; raises StoreError, JournalError or StorageError."""
    began = time.thread_time()
    before = version(folder)
    fetch(Run(folder, {}))
    run = store.read(folder)
    drawn = figures(run)
    facts = content(run)
    is_running = run.result["status"] == RunStatus.RUNNING
    body = templates.get_template("body.html").render(
        {
            **facts,
            **({"no_model": "It is exported at the end of the search."} if is_running else {}),
            "footer": f"Read from {location(folder)}.",
            "predict": facts["serve"] or f"python -m serve {run_arguments(folder)}",
            "has_figures": bool(drawn),
            "is_live": True,
            "trial_links": f"/runs/{run.name}/trials/",
            "left": _time_left(run),
            "took": duration(run.result["seconds"]),
            "matters": _most_important(drawn),
            "served_at": served_at(run.name) if facts["model"] else None,
        }
    )
    data = json.dumps(drawn, separators=(",", ":"), allow_nan=False)
    return Snapshot(before, body, data, time.thread_time() - began)


def trial(run: Run, trial_id: str) -> Outcome:
    """Return a trial of a run; raises StoreError where there is none."""
    found = store.find_trial(run, trial_id)
    return next(trial for trial in run.result["trials"] if trial["trial_id"] == found)


def _most_important(drawn: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the parameter that matters most and its share, as its figure has them."""
    if IMPORTANCE not in drawn:
        return None
    (trace,) = drawn[IMPORTANCE]["data"]
    return trace["y"][-1], trace["text"][-1]


def _time_left(run: Run) -> str | None:
    """Estimate as the terminal does, from the times in the journal; None where nothing is known."""
    if run.result["status"] != RunStatus.RUNNING:
        return None
    try:
        experiment, record = store.read_experiment(run), store.empty_record(run.folder)
        events = list(journal_reader.read_events(run.folder / JOURNAL))
    except (StoreError, JournalError, OSError):
        return None
    now = 0.0
    estimate = TimeLeft(RunState(experiment, record), clock=lambda: now)
    last = time.time()
    for event in events:
        record.apply(event)
        now, last = event["run_seconds"], event.get("time", last)
        if "trial_id" in event:
            estimate.update(event["event"], record.trials[event["trial_id"]])
    now += max(0.0, time.time() - last)
    return estimate.describe() or None
