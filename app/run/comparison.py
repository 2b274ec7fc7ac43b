"""Comparison of runs: their outcomes side by side, and what differs between their experiments."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from app.experiment.objective import Objective
from app.experiment.result_keys import is_finite
from app.experiment.run_folder import DASHBOARD
from app.run import store, summaries
from app.run.formatting import configuration, duration, number
from app.run.store import Run

Outcome = dict[str, Any]
"""A row of `summaries` with the run's `epochs`, and its `rank` among the others or None."""


def compare(runs: Sequence[Run]) -> dict[str, Any]:
    """Compare runs.

    Returns:
        `runs`, the outcome of each, and `differences`: by key of the experiment, the value in each
        run, for keys whose values are not the same in all.

    Raises:
        StoreError: An experiment cannot be read.
    """
    experiments = [_settings(run) for run in runs]
    keys = dict.fromkeys(key for settings in experiments for key in settings)
    values = {key: [settings.get(key) for settings in experiments] for key in keys}
    differences = {
        key: of_runs
        for key, of_runs in values.items()
        if any(value != of_runs[0] for value in of_runs)
    }
    return {"runs": _rank([_outcome(run) for run in runs]), "differences": differences}


def cells(compared: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the lines of a table: a heading, then a cell for each run."""
    outcomes = compared["runs"]
    for heading, cell in CELLS.items():
        yield (heading, *map(cell, outcomes))
    if compared["differences"]:
        yield ("",) * (len(outcomes) + 1)
    for key, values in compared["differences"].items():
        yield (key, *map(_exact, values))


def remarks(compared: Mapping[str, Any]) -> Iterator[str]:
    """Say that nothing differs, or that runs of different objectives are not ranked."""
    if not compared["differences"]:
        yield "nothing differs between their experiments"
    if len(_objectives(compared["runs"])) > 1:
        objectives = (f"{run['name']} {run['mode']} {run['metric']}" for run in compared["runs"])
        yield f"they are not ranked, as their objectives differ: {', '.join(objectives)}"


def _settings(run: Run) -> dict[str, Any]:
    """Every value that a run used, defaults too, by its key: `space.lr.low`."""
    used = {**store.read_table(run), **store.read_experiment(run).as_json()}
    used.pop(DASHBOARD, None)  # It makes no difference to what a run finds.
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


def _rank(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Add ranks from 1: equal values share one, and a run without a value has None."""
    if len(_objectives(outcomes)) > 1:
        return [{**outcome, "rank": None} for outcome in outcomes]
    objective = Objective(outcomes[0]["metric"], outcomes[0]["mode"])
    values = [_value(outcome) for outcome in outcomes]
    ranks = [
        None if value is None else 1 + sum(_is_better(objective, other, value) for other in values)
        for value in values
    ]
    return [{**outcome, "rank": rank} for outcome, rank in zip(outcomes, ranks, strict=True)]


def _is_better(objective: Objective, value: float | None, other: float) -> bool:
    return value is not None and objective.better(value, other)


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
    """A value with all digits, since it differs from another."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
