"""Values of a run's outcome, as `result.json` has it, and how pictures tell its trials apart."""

import html
from collections.abc import Mapping
from typing import Any, NamedTuple

from app.experiment.objective import Objective
from app.experiment.result_keys import is_finite
from app.run.formatting import number
from app.run.status import TrialStatus

Outcome = Mapping[str, Any]
"""A run's outcome, or a trial's, as `result.json` has it."""

GOALS = {"min": "least", "max": "greatest"}
"""Adjectives of the best value, by mode."""


class Look(NamedTuple):
    """Colour, marker and line of a status: no two are told apart by colour alone."""

    colour: str
    symbol: str
    dash: str


BEST = Look("#009e73", "star", "solid")
"""The best trial."""
LOOKS: Mapping[str, Look] = {
    TrialStatus.COMPLETED: Look("#0072b2", "circle", "solid"),
    TrialStatus.STOPPED: Look("#8a8a8a", "square", "dot"),
    TrialStatus.RUNNING: Look("#b07c00", "triangle-up", "solid"),
    TrialStatus.INTERRUPTED: Look("#9c6ba8", "diamond", "dash"),
    TrialStatus.FAILED: Look("#d55e00", "x", "dash"),
    TrialStatus.PENDING: Look("#8a8a8a", "circle-open", "dot"),
}
"""Colours of Okabe and Ito where they have three to one against white and against black."""


def objective(result: Outcome) -> Objective:
    """Return the objective of a run."""
    return Objective(result["metric"], result["mode"])


def value(result: Outcome, trial: Outcome) -> float | None:
    """Return a trial's value; None where it has none, or failed, so that it does not count."""
    found = trial["metrics"].get(result["metric"])
    is_counted = is_finite(found) and trial["status"] != TrialStatus.FAILED
    return float(found) if is_counted else None


def valued(result: Outcome) -> list[tuple[Outcome, float]]:
    """Return the trials that have a value that counts, with it, the best first."""
    found = ((trial, value(result, trial)) for trial in result["trials"])
    pairs = [(trial, number) for trial, number in found if number is not None]
    return sorted(pairs, key=lambda pair: objective(result).as_loss(pair[1]))


def best_id(result: Outcome) -> str | None:
    """Return the ID of the best trial."""
    return None if result["best"] is None else result["best"]["trial_id"]


def plain(text: Any) -> str:
    """Return a text as plotly.js shows it literally: it reads tags and entities elsewhere."""
    return html.escape(str(text), quote=False)


def describe(result: Outcome, trial: Outcome, name: str | None = None) -> str:
    """Return a trial, its value and its setting of a parameter, a line each, for plotly.js."""
    found = trial["metrics"].get(result["metric"])
    head = f"trial {trial['trial_id']}, {trial['status']}"
    lines = [head if found is None else f"{head}: {number(found)}"]
    if name is not None:
        lines.append(f"{name} = {number(trial['config'].get(name))}")
    return "<br>".join(map(plain, lines))


def rounded(value: float) -> float:
    """Return a value with as many digits as a picture needs: a report may have thousands."""
    return float(f"{value:.6g}")
