"""Summary of a run's failed trials: what they have in common, and how good the best of them was.

A searched parameter is named where it tells the failed trials from the others: numbers whose range
no other trial's value reaches into, and choices that no other trial had. Where no parameter does,
those are named whose failed values are only a part of what was tried.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from app.experiment.objective import Objective
from app.experiment.result_keys import is_finite
from app.run.formatting import count, number, times
from app.run.status import TrialStatus

Outcome = Mapping[str, Any]
"""A run's outcome, or a trial's, as `result.json` has it."""
Values = Sequence[Any]

PLACE = re.compile(r" \([^()]*, line \d+(?:, in \S+)?\)")
"""The line of the user's file that an exception came from."""
EXCEPTION = re.compile(r"^(?:.* (?:status \d+|of \d+|\)): )?([A-Za-z_]\w*(?:\.\w+)*)(?=:|$)")
"""The type of an exception, after what begins the error of a script."""
COUNTS = re.compile(r", \d+ times$| in epoch \d+| on algo-\d+")
"""Numbers that differ between failures of one kind."""
MAX_KINDS = 3
"""The kinds of failures that are listed."""


def describe_failures(result: Outcome) -> list[str]:
    """Say how many trials failed, of what, and for which values; empty where none failed."""
    failed = [trial for trial in result["trials"] if trial["status"] == TrialStatus.FAILED]
    if not failed:
        return []
    kinds: dict[str, list[Outcome]] = {}
    for trial in failed:
        kinds.setdefault(kind(trial["error"] or ""), []).append(trial)
    others = [trial for trial in result["trials"] if trial["status"] != TrialStatus.FAILED]
    ranked = sorted(kinds.items(), key=lambda kind: -len(kind[1]))
    parts = [
        name + _ranges(trials, others) + (f", {times(len(trials))}" if len(kinds) > 1 else "")
        for name, trials in ranked[:MAX_KINDS]
    ]
    if len(ranked) > MAX_KINDS:
        parts.append(count(len(ranked) - MAX_KINDS, "other kind"))
    total = count(len(result["trials"]), "trial")
    return [f"{len(failed)} of {total} failed: {'; '.join(parts)}"]


def kind(error: str) -> str:
    """Return the kind of a failure: the exception's type, or a sentence without its numbers."""
    first = COUNTS.sub("", PLACE.sub("", error.split("\n", 1)[0]))
    found = EXCEPTION.match(first)
    return found[1] if found and " " not in found[1] else first


def describe_lost_best(result: Outcome, arguments: str) -> list[str]:
    """Name the failed trial that had the best value of all, and how to export it.

    Empty where a trial that did not fail is as good. `arguments` name the run in a command.
    """
    metric, objective = result["metric"], Objective(result["metric"], result["mode"])

    def loss(outcome: Outcome) -> float:
        return objective.as_loss(float(outcome["metrics"][metric]))

    def has_value(outcome: Outcome) -> bool:
        return is_finite(outcome["metrics"].get(metric))

    failed = (trial for trial in result["trials"] if trial["status"] == TrialStatus.FAILED)
    best = min(filter(has_value, failed), key=loss, default=None)
    other = result["best"]
    if best is None or (other is not None and not (has_value(other) and loss(best) < loss(other))):
        return []
    epoch = _best_epoch(best)
    if epoch is None:
        return []
    return [
        f"trial {best['trial_id']} failed in epoch {best['epochs'] + 1} after the best value of"
        f" all, {number(best['metrics'][metric])} in epoch {epoch}:"
        f" python -m app.runs export {arguments} --trial {best['trial_id']}"
    ]


def _best_epoch(trial: Outcome) -> int | None:
    """The epoch of a trial's metrics; None where another version wrote a history without it."""
    for epoch in trial["history"]:
        if {name: value for name, value in epoch.items() if name != "epoch"} == trial["metrics"]:
            return int(epoch["epoch"])
    return None


def _ranges(failed: Sequence[Outcome], others: Sequence[Outcome]) -> str:
    """The values of parameters by which failed trials differ from the others, in parentheses."""
    if not others:
        return ""
    for differs in (_is_apart, _is_part):
        ranges = [
            f"{name} {_range(values)}"
            for name, values in _by_name(failed).items()
            if differs(values, _by_name(others).get(name, []))
        ]
        if ranges:
            return f" ({', '.join(ranges)})"
    return ""


def _by_name(trials: Sequence[Outcome]) -> dict[str, list[Any]]:
    """The values of each parameter; a conditional one may have fewer values than trials."""
    values: dict[str, list[Any]] = {}
    for trial in trials:
        for name, value in trial["config"].items():
            values.setdefault(name, []).append(value)
    return values


def _are_numbers(values: Values) -> bool:
    return all(type(value) in (int, float) for value in values)


def _is_apart(failed: Values, others: Values) -> bool:
    """Whether failed values are all below or all above the others, or none is among them."""
    if not others:
        return False
    if _are_numbers(failed) and _are_numbers(others):
        return bool(max(failed) < min(others) or min(failed) > max(others))
    return not any(value in others for value in failed)


def _is_part(failed: Values, others: Values) -> bool:
    """Whether several trials failed, with values from only a part of those that were tried."""
    if len(failed) < 2 or not others:
        return False
    if _are_numbers(failed) and _are_numbers(others):
        return bool(min(others) < min(failed) or max(others) > max(failed))
    return any(value not in failed for value in others)


def _range(values: Values) -> str:
    if not _are_numbers(values):
        return ", ".join(dict.fromkeys(map(number, values)))
    ends = dict.fromkeys((number(min(values)), number(max(values))))
    return " to ".join(ends)
