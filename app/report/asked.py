"""Experiment of a run in a report: its space and keys, versions, and the command to repeat it."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from app.experiment.space import Space
from app.report import facts
from app.report.outcome import GOALS, Outcome
from app.run import timeline
from app.run.errors import JournalError
from app.run.formatting import configuration, duration, number
from app.run.layout import EXPERIMENT
from app.run.store import Run
from app.storage.working_copy import location


def space_rows(result: Outcome, table: Mapping[str, Any], space: Space) -> Iterator[dict[str, str]]:
    """Yield each parameter: what was searched, and the best trial's value."""
    best = {} if result["best"] is None else result["best"]["config"]
    ends = facts.at_bounds(result, space)
    entries = table.get("space")
    for name, entry in entries.items() if isinstance(entries, Mapping) else ():
        value = number(best[name]) if name in best else "-"
        searched = _searched(entry) if isinstance(entry, Mapping) else str(entry)
        yield {"name": name, "searched": searched, "best": value, "bound": ends.get(name, "")}


def _searched(entry: Mapping[str, Any]) -> str:
    if isinstance(entry.get("values"), list):
        text = ", ".join(map(number, entry["values"]))
    else:
        text = f"{number(entry.get('low'))} to {number(entry.get('high'))}"
    scale = entry.get("scale") or "linear"
    text += "" if scale == "linear" else f", {scale}"
    text += f", by {number(entry['step'])}" if entry.get("step") not in (None, 1) else ""
    when = entry.get("when")
    on_values = when.items() if isinstance(when, Mapping) else ()
    conditions = " and ".join(f"{on} is {_any(values)}" for on, values in on_values)
    return f"{text}, where {conditions}" if conditions else text


def _any(values: Any) -> str:
    return " or ".join(map(number, values)) if isinstance(values, list) else str(values)


def asked(run: Run, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the rest of what the experiment asks, when the run began and how long it took."""
    result = run.result
    yield "objective", f"{GOALS.get(result['mode'], '')} {result['metric']}"
    if "search" in table:
        yield "search", str(table["search"])
    stopping = table.get("early_stopping")
    if stopping:
        rule = stopping.get("name") if isinstance(stopping, Mapping) else stopping
        yield "early stopping", str(rule)
    for key, label in (
        ("num_samples", "trials asked for"),
        ("max_concurrent", "at a time"),
        ("epochs", "epochs of a trial"),
    ):
        if table.get(key) is not None:
            yield label, str(table[key])
    fixed = table.get("fixed")
    if isinstance(fixed, Mapping) and fixed:
        yield "fixed", configuration(dict(fixed))
    began = _began(run)
    if began:
        yield "began", began
    yield "took", duration(result["seconds"])


def _began(run: Run) -> str | None:
    try:
        began = timeline.read(run.folder).run.began
    except (JournalError, OSError):
        return None
    return None if began is None else f"{began:%Y-%m-%d %H:%M} UTC"


def again(run: Run) -> str:
    """Return the command that runs the same experiment once more."""
    folder = location(run.folder)
    if "://" in folder:
        return f"python -m app.tune {EXPERIMENT}  # a copy of {folder}/{EXPERIMENT}"
    return f"python -m app.tune {shlex.quote(f'{folder}/{EXPERIMENT}')}"


def versions(result: Outcome, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield versions, seed, threads and digests of data: what makes two runs the same."""
    yield from ((name, str(version)) for name, version in result["versions"].items())
    for key in ("seed", "threads"):
        if table.get(key) is not None:
            yield key, str(table[key])
    data = table.get("data")
    if isinstance(data, Mapping):
        for name, digest in data.items():
            yield f"{name} (digest)", str(digest)
