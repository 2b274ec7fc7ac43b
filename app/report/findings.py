"""Findings of a search in sentences: the margin, trials that came near, parameters at a bound."""

from collections.abc import Iterator, Sequence

from app.experiment.space import Space
from app.report import facts
from app.report.outcome import Outcome, valued
from app.run.formatting import count, number

MAX_NAMED = 8
"""Trials that a sentence names."""


def findings(result: Outcome, space: Space) -> Iterator[str]:
    """Yield sentences on the margin, on trials that came near, and on bounds."""
    ahead = facts.margin(result)
    if ahead is not None and ahead.size == 0:
        yield f"No better than the next one, trial {ahead.second_id}: both have the same value."
    elif ahead is not None:
        by = number(ahead.size) if ahead.share is None else f"{ahead.share * 100:.2g} %"
        yield f"Better by {by} than the next one, trial {ahead.second_id} ({number(ahead.second)})."
    elif result["best"] is not None:
        yield "No other trial has a value to compare it with."
    if len(valued(result)) >= facts.MIN_NEAR_TRIALS:
        yield _near(facts.near(result))
    ends = facts.at_bounds(result, space)
    for name, end in ends.items():
        value = number(result["best"]["config"][name])
        yield f"{name} = {value} is at the {end} end of its range: a wider one may do better."
    if not ends and result["best"] is not None and space.parameters:
        yield "None of its parameters is at the end of a range."


def _near(others: Sequence[str]) -> str:
    reach = f"within {facts.NEAR * 100:.0f} % of the way from the best value to the median"
    if not others:
        return f"No other trial came near: none lies {reach}."
    named = ", ".join(others[:MAX_NAMED]) + (", …" if len(others) > MAX_NAMED else ".")
    return f"{count(len(others), 'other trial')} came near, {reach}: {named}"
