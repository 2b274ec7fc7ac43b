"""Runs side by side: how each of them did, and what differs between their experiments."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from app.experiment.result_keys import is_finite
from app.run import store, summaries
from app.run.formatting import configuration, duration, number
from app.run.store import Run

Outcome = dict[str, Any]
"""A run's row, with its `epochs`, and its `rank` among the others where it has one."""


def compare(runs: Sequence[Run]) -> dict[str, Any]:
    """The outcomes of `runs`, and as `differences` the values that are not the same in all.

    Raises StoreError where an experiment cannot be read.
    """
    settings = [_settings(run) for run in runs]
    keys = dict.fromkeys(key for each in settings for key in each)
    values = {key: [each.get(key) for each in settings] for key in keys}
    differing = {key: each for key, each in values.items() if any(v != each[0] for v in each)}
    return {"runs": _ranked([_outcome(run) for run in runs]), "differences": differing}


def cells(compared: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """A comparison's lines: a heading, then a cell for each run."""
    outcomes = compared["runs"]
    for heading, cell in CELLS.items():
        yield (heading, *map(cell, outcomes))
    if compared["differences"]:
        yield ("",) * (len(outcomes) + 1)
    for key, values in compared["differences"].items():
        yield (key, *map(_exact, values))


def remarks(compared: Mapping[str, Any]) -> Iterator[str]:
    """What is worth a sentence: that nothing differs, or that what does forbids ranks."""
    if not compared["differences"]:
        yield "nothing differs between their experiments"
    if len(_objectives(compared["runs"])) > 1:
        each = ", ".join(f"{run['name']} {run['mode']} {run['metric']}" for run in compared["runs"])
        yield f"they are not ranked, as their objectives differ: {each}"


def _settings(run: Run) -> dict[str, Any]:
    """Every value that a run used, defaults too, by its path: `space.lr.low`."""
    used = {**store.read_table(run), **store.read_experiment(run).as_json()}
    return dict(_paths({**used, "versions": run.result["versions"]}))


def _paths(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _paths(value, f"{before}{key}.")
        else:
            yield before + key, value


def _outcome(run: Run) -> Outcome:
    epochs = sum(trial["epochs"] for trial in run.result["trials"])
    return {**summaries.row(run), "epochs": epochs}


def _ranked(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes with their ranks, from 1; equals share one, and what has no value has none."""
    if len(_objectives(outcomes)) > 1:
        return [{**outcome, "rank": None} for outcome in outcomes]
    sign = 1 if outcomes[0]["mode"] == "min" else -1
    values = [_value(outcome) for outcome in outcomes]
    found = [sign * value for value in values if value is not None]
    ranks = [
        None if value is None else 1 + sum(other < sign * value for other in found)
        for value in values
    ]
    return [{**outcome, "rank": rank} for outcome, rank in zip(outcomes, ranks, strict=True)]


def _objectives(outcomes: Sequence[Outcome]) -> set[tuple[str, str]]:
    return {(outcome["metric"], outcome["mode"]) for outcome in outcomes}


def _value(outcome: Outcome) -> float | None:
    value: Any = outcome["best"]["metrics"].get(outcome["metric"]) if outcome["best"] else None
    return float(value) if is_finite(value) else None


def _status(outcome: Outcome) -> str:
    reason = f" ({outcome['reason']})" if outcome["reason"] else ""
    return f"{outcome['status']}{reason}"


def _best(outcome: Outcome) -> str:
    value = _value(outcome)
    return "" if value is None else f"{outcome['metric']} {number(value)}"


CELLS: Mapping[str, Callable[[Outcome], str]] = {
    "status": _status,
    "trials": lambda outcome: f"{outcome['finished']} of {outcome['trials']}",
    "epochs": lambda outcome: str(outcome["epochs"]),
    "time": lambda outcome: duration(outcome["seconds"]),
    "best": _best,
    "rank": lambda outcome: str(outcome["rank"] or ""),
    "trial": lambda outcome: outcome["best"]["trial_id"] if outcome["best"] else "",
    "configuration": lambda outcome: (
        configuration(outcome["best"]["config"]) if outcome["best"] else ""
    ),
}


def _exact(value: Any) -> str:
    """A value with all its digits, since it differs from another."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
