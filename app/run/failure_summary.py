"""What the failed trials of a run have in common, and what the best of them had reached.

A searched parameter is named where it tells the failed trials from the others: numbers whose range
no other trial's value reaches into, and choices that no other trial had. Where no parameter does,
those are named whose failed values are only a part of what was tried.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from app.experiment.result_keys import is_finite
from app.run.formatting import count, number, times
from app.run.status import TrialStatus

Outcome = Mapping[str, Any]
"""A run's outcome, or a trial's, as `result.json` has it."""
Values = Sequence[Any]

PLACE = re.compile(r" \([^()]*, line \d+(?:, in \S+)?\)")
"""Where in the user's file an exception came from."""
EXCEPTION = re.compile(r"^(?:.* (?:status \d+|of \d+|\)): )?([A-Za-z_]\w*(?:\.\w+)*)(?=:|$)")
"""The type of an exception, and what a script's end has before it."""
COUNTS = re.compile(r", \d+ times$| in epoch \d+| on algo-\d+")
"""What tells failures of one kind apart."""
KINDS = 3
"""Kinds of failures that are told."""


def counted(result: Outcome) -> list[str]:
    """Say how many trials failed, of what, and for which values; nothing where none did."""
    failed = [trial for trial in result["trials"] if trial["status"] == TrialStatus.FAILED]
    if not failed:
        return []
    kinds: dict[str, list[Outcome]] = {}
    for trial in failed:
        kinds.setdefault(kind(trial["error"] or ""), []).append(trial)
    others = [trial for trial in result["trials"] if trial["status"] != TrialStatus.FAILED]
    ranked = sorted(kinds.items(), key=lambda each: -len(each[1]))
    told = [
        name + _among(trials, others) + (f", {times(len(trials))}" if len(kinds) > 1 else "")
        for name, trials in ranked[:KINDS]
    ]
    more = [count(len(ranked) - KINDS, "other kind")] if len(ranked) > KINDS else []
    of = f"{len(failed)} of {count(len(result['trials']), 'trial')} failed"
    return [f"{of}: {'; '.join([*told, *more])}"]


def kind(error: str) -> str:
    """The kind of a failure: the exception's type, or a sentence without its numbers."""
    first = COUNTS.sub("", PLACE.sub("", error.split("\n", 1)[0]))
    found = EXCEPTION.match(first)
    return found[1] if found and " " not in found[1] else first


def lost_best(result: Outcome, named: str) -> list[str]:
    """Say which failed trial had the best value of all, and how to export it; nothing otherwise.

    `named` is the run as a command is told of it.
    """
    metric, sign = result["metric"], 1 if result["mode"] == "min" else -1

    def value(outcome: Outcome) -> float:
        return sign * float(outcome["metrics"][metric])

    def has_value(outcome: Outcome) -> bool:
        return is_finite(outcome["metrics"].get(metric))

    failed = (trial for trial in result["trials"] if trial["status"] == TrialStatus.FAILED)
    best = min(filter(has_value, failed), key=value, default=None)
    other = result["best"]
    if best is None or (
        other is not None and not (has_value(other) and value(best) < value(other))
    ):
        return []
    epoch = _reached_in(best)
    if epoch is None:
        return []
    return [
        f"trial {best['trial_id']} failed in epoch {best['epochs'] + 1} after the best value of"
        f" all, {number(best['metrics'][metric])} in epoch {epoch}:"
        f" python -m app.runs export {named} --trial {best['trial_id']}"
    ]


def _reached_in(trial: Outcome) -> int | None:
    """The epoch of a trial's metrics; None where its history, as another version's, lacks it."""
    for epoch in trial["history"]:
        if {name: value for name, value in epoch.items() if name != "epoch"} == trial["metrics"]:
            return int(epoch["epoch"])
    return None


def _among(failed: Sequence[Outcome], others: Sequence[Outcome]) -> str:
    """The values that tell the failed trials from the others, in parentheses."""
    if not others:
        return ""
    for tells in (_is_apart, _is_part):
        ranges = [
            f"{name} {_range(values)}"
            for name, values in _by_name(failed).items()
            if tells(values, _by_name(others).get(name, []))
        ]
        if ranges:
            return f" ({', '.join(ranges)})"
    return ""


def _by_name(trials: Sequence[Outcome]) -> dict[str, list[Any]]:
    """The values of each parameter; one that is searched on a condition may have fewer."""
    values: dict[str, list[Any]] = {}
    for trial in trials:
        for name, each in trial["config"].items():
            values.setdefault(name, []).append(each)
    return values


def _are_numbers(values: Values) -> bool:
    return all(type(value) in (int, float) for value in values)


def _is_apart(failed: Values, others: Values) -> bool:
    """Whether all the failed values lie on one side of all others, or are none of theirs."""
    if not others:
        return False
    if _are_numbers(failed) and _are_numbers(others):
        return bool(max(failed) < min(others) or min(failed) > max(others))
    return not any(value in others for value in failed)


def _is_part(failed: Values, others: Values) -> bool:
    """Whether several failed, with values from only a part of what was tried."""
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
