"""Reports of a trial's metrics, read as Ray Tune reads them."""

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from trainables.contract import DONE, Metrics, TrainableError, shorten, to_python

SHOULD_SAVE = "should_checkpoint"
"""Key by which a report asks Ray Tune for a checkpoint; one is saved at each report anyway."""
TYPE_WORDS = {str: "a text", bytes: "bytes", list: "a list", tuple: "a list"}


@dataclass(frozen=True)
class CheckedReport:
    """A report as a trial's curves can hold it."""

    metrics: Metrics
    """Numbers by name, None where one is not finite; nested ones are `val/acc`. Empty where the
    report only says that the trial is complete."""
    left_out: Mapping[str, str]
    """Types of the values that no curve can hold, by name, such as `a text`."""
    is_last: bool
    """Whether the trial is complete."""


def check_report(metrics: Any, metric: str, *, epoch: int, by: str = "step()") -> CheckedReport:
    """Check a report: `done` completes the trial, and a bool is 0 or 1.

    Args:
        metrics: The report.
        metric: The objective.
        epoch: The epoch that it is for.
        by: The call that reports, for messages.

    Raises:
        TrainableError: The objective is missing, no number or not finite.
    """
    if not isinstance(metrics, Mapping):
        raise TrainableError(f"{by} must return a dictionary of metrics, got {shorten(metrics)}")
    is_last = bool(to_python(metrics.get(DONE, False)))
    own = {name: metrics[name] for name in metrics if name not in (DONE, SHOULD_SAVE)}
    values = flatten_metrics(own)
    if is_last and not values:
        return CheckedReport({}, {}, is_last)
    if metric not in values:
        known = ", ".join(values) or "nothing"
        raise TrainableError(f"metric: {by} reported no {metric!r}; it reported {known}")
    left_out = {name: _type_words(value) for name, value in values.items() if not is_number(value)}
    if metric in left_out:
        raise TrainableError(
            f"{by} reported {metric!r} as {shorten(values[metric])}; the objective must be a number"
        )
    plain = {name: _to_json(value) for name, value in values.items() if name not in left_out}
    if plain[metric] is None:
        raise TrainableError(f"{metric} became {shorten(values[metric])} in epoch {epoch}")
    return CheckedReport(plain, left_out, is_last)


def flatten_metrics(metrics: Mapping[Any, Any], prefix: str = "") -> Metrics:
    """Flatten nested dictionaries, whose metrics Ray names `val/acc`.

    Numbers of other libraries become Python's own.
    """
    flat: Metrics = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            flat.update(flatten_metrics(value, f"{prefix}{name}/"))
        else:
            flat[f"{prefix}{name}"] = to_python(value)
    return flat


def is_number(value: Any) -> bool:
    """Whether a value can be a metric."""
    return isinstance(value, (numbers.Real, Decimal))


def _to_json(value: Any) -> float | int | None:
    """Convert a number to one that JSON can hold; None where it is not finite."""
    try:
        number = int(value) if isinstance(value, numbers.Integral) else float(value)
        return number if math.isfinite(number) else None
    except OverflowError:  # an integer beyond all floats
        return None


def _type_words(value: Any) -> str:
    """Name the type of a value that is no number."""
    if value is None:
        return "None"
    for kind, words in TYPE_WORDS.items():
        if isinstance(value, kind):
            return words
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return f"an array of shape {tuple(shape)}"
    return f"a {type(value).__name__}"
