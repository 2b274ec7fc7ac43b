"""Selection of runs for a list: which are shown, and in which order."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from app.experiment.objective import Objective
from app.experiment.result_keys import is_finite
from app.run.summaries import Row


def select(
    rows: Iterable[Row],
    *,
    sort: str = "began",
    status: str | None = None,
    experiment: str | None = None,
) -> list[Row]:
    """Return the rows of one status and experiment, sorted.

    Args:
        rows: Rows of `summaries`.
        sort: A key of `ORDERS`.
        status: A run's status, or `unreadable`; None for any.
        experiment: The name of an experiment; None for any.
    """
    chosen = [
        row
        for row in rows
        if status in (None, row["status"]) and experiment in (None, row["experiment"])
    ]
    return sorted(chosen, key=ORDERS[sort])


def _loss(row: Row) -> float:
    """The best value as a loss; runs without one come last."""
    value = row["best"]["metrics"].get(row["metric"]) if row.get("best") else None
    if value is None or not is_finite(value):
        return math.inf
    return Objective(row["metric"], row["mode"]).as_loss(value)


ORDERS: Mapping[str, Callable[[Row], Any]] = {
    "began": lambda row: 0,  # as `summaries` gives them: the newest first
    "name": lambda row: row["name"],
    "seconds": lambda row: -row.get("seconds", 0.0),
    "best": _loss,
}
"""Orders of a list: the newest, the first in the alphabet, the longest, and the best first."""
