"""A run as the page shows it: facts as HTML and figures as JSON, made again when it changes."""

import json
import re
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2

from app.experiment.run_folder import DASHBOARD, JOURNAL
from app.report import TEMPLATES as REPORT_TEMPLATES
from app.report.content import content, figures
from app.report.page import fetch, templates_in
from app.run import store
from app.run.commands import resume_command, run_arguments
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
from app.watch.estimate import Estimate

FILES = (RESULT, JOURNAL, MODEL)
"""Files whose change is a change of the run."""
IMPORTANCE = "Importance of parameters"
KEY = re.compile(r"[\d.-]{1,300}", re.ASCII)
"""A version as `key_of` writes it."""
Version = tuple[tuple[int, int], ...]
"""Whether a run goes on, and the times and sizes of its files."""


@dataclass(frozen=True)
class Snapshot:
    """A run at one moment."""

    version: Version
    heading: str
    """Its name and status, as HTML."""
    facts: str
    """The rest of its report, as HTML."""
    figures: str
    """Its figures by title, as JSON."""
    now: Mapping[str, Any]
    """Values of the lines between heading and facts, which change without the run's files."""
    estimate: Estimate | None
    """Time that it has taken and has left; None where it does not go on."""
    took_s: float
    """Seconds of a processor that this took to make."""


def key_of(found: Version) -> str:
    """Return a version as a browser keeps it."""
    return "-".join(f"{time}.{size}" for time, size in found)


def environment() -> jinja2.Environment:
    """Return the templates of the page and of the report, which escape every value."""
    return templates_in(TEMPLATES, REPORT_TEMPLATES)


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
    fetch(Run(folder, {}))
    before = version(folder)
    run = store.read(folder)
    drawn, facts = figures(run), content(run)
    status = run.result["status"]
    is_running = status == RunStatus.RUNNING
    values = {
        **facts,
        **({"no_model": "It is exported at the end of the search."} if is_running else {}),
        "footer": f"Read from {location(folder)}.",
        "has_figures": bool(drawn),
        "is_live": True,
        "trial_links": f"/runs/{quote(run.name, safe='')}/trials/",
    }
    now = {
        "name": run.name,
        "status": facts["status"],
        "serve": facts["serve"],
        "predict": facts["serve"] or f"python -m serve {run_arguments(folder)}",
        "seconds": run.result["seconds"],
        "resume": resume_command(folder) if status == RunStatus.INTERRUPTED else None,
        "dashboard": _dashboard(run) if is_running else None,
        "matters": _most_important(drawn),
    }
    return Snapshot(
        before,
        templates.get_template("heading.html").render(values),
        templates.get_template("facts.html").render(values),
        json.dumps(drawn, separators=(",", ":"), allow_nan=False),
        now,
        _estimate(run),
        time.thread_time() - began,
    )


def describe_now(found: Snapshot, templates: jinja2.Environment) -> str:
    """Say as HTML how long a run still takes, what matters in it, and how to ask its model."""
    estimate, name = found.estimate, found.now["name"]
    seconds, left = estimate.now() if estimate else (found.now["seconds"], "")
    values = {
        **found.now,
        "took": duration(seconds),
        "left": left,
        # An endpoint answers with the name of the run that its model comes from.
        "served_at": served_at(name) if found.now["serve"] else None,
    }
    return templates.get_template("now.html").render(values)


def _dashboard(run: Run) -> Mapping[str, str | None] | None:
    """Return the address of Ray's dashboard, and the command that prints its token, if known."""
    found = store.read_table(run).get(DASHBOARD)
    if "://" in location(run.folder) or not isinstance(found, dict):  # It is of another machine.
        return None
    token = found.get("token")
    entry = None if token is None else f"cat {shlex.quote(str(token))}"
    return {"address": str(found.get("address")), "entry": entry}


def _most_important(drawn: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the parameter that matters most and its share, as its figure has them."""
    if IMPORTANCE not in drawn:
        return None
    (trace,) = drawn[IMPORTANCE]["data"]
    return trace["y"][-1], trace["text"][-1]


def _estimate(run: Run) -> Estimate | None:
    if run.result["status"] != RunStatus.RUNNING:
        return None
    try:
        return Estimate(run)
    except (StoreError, JournalError, OSError):
        return None
