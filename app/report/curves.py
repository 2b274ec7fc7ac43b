"""Curves of a run's trials: the metric by epoch, and the best value so far by time."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from app.experiment.result_keys import is_finite
from app.report.chronology import Chronology
from app.report.outcome import BEST, LOOKS, Look, Outcome, best_id, objective, plain, rounded
from app.report.plotting import Figure, Trace, figure
from app.run.formatting import duration, number
from app.run.status import TrialStatus

MAX_POINTS = 10_000
"""Points of a figure that a browser draws at once; learning curves of more epochs are thinned."""
MANY_TRIALS = 40
"""Trials from which their lines are thin and have no markers."""
WIDTH = 2.5
"""Width of a line that stands for a run."""
FEW = 20
"""Epochs or trials up to which an axis names each."""
UNITS = (("s", 1.0, 180.0), ("min", 60.0, 10_800.0), ("h", 3600.0, math.inf))
"""Units of time: name, seconds, and the seconds up to which an axis has it."""


def learning_curves(result: Outcome) -> Figure:
    """Draw the metric by epoch: a line for each trial, ends of stopped and failed ones marked."""
    metric, best = result["metric"], best_id(result)
    total = sum(len(trial["history"]) for trial in result["trials"])
    step = max(1, math.ceil(total / MAX_POINTS))
    data: list[Trace] = []
    for status, look in LOOKS.items():
        trials = [trial for trial in result["trials"] if trial["status"] == status]
        data += curves(metric, [t for t in trials if t["trial_id"] != best], status, look, step)
    winner = [trial for trial in result["trials"] if trial["trial_id"] == best]
    data += curves(metric, winner, f"best: trial {best}", BEST, step)
    last = max((trial["epochs"] for trial in result["trials"]), default=0)
    return by_epoch(data, metric, last)


def by_epoch(traces: Sequence[Trace], metric: str, last: int) -> Figure:
    """Return a figure of learning curves of that many epochs."""
    plot = figure(traces, x="epoch", y=metric, log=("yaxis",))
    plot["layout"]["xaxis"] |= {"tickformat": "d", **({"dtick": 1} if last <= FEW else {})}
    return plot


def curves(
    metric: str, trials: Sequence[Outcome], name: str, look: Look, step: int
) -> Iterator[Trace]:
    """Yield one trace of all trials, with gaps between them, and one of their marked ends."""
    xs: list[int | None] = []
    ys: list[float | None] = []
    texts: list[str] = []
    ends: list[int] = []
    for trial in trials:
        history = [epoch for epoch in trial["history"] if is_finite(epoch.get(metric))]
        for epoch in thin(history, step):
            xs.append(epoch["epoch"])
            ys.append(rounded(epoch[metric]))
            label = f"trial {trial['trial_id']}, epoch {epoch['epoch']}: {number(epoch[metric])}"
            texts.append(plain(label))
        if history:
            ends.append(len(xs) - 1)
            xs.append(None)
            ys.append(None)
            texts.append("")
    if not xs:
        return
    is_few = len(ends) < MANY_TRIALS
    width = 3 if look is BEST else 1.3 if is_few else 0.6
    has_marked_ends = look.symbol in ("x", "square")
    # A marker is an element of the page, and a line of one point is seen by a marker alone.
    is_point_seen = has_marked_ends or all(len(trial["history"]) > 1 for trial in trials)
    has_markers = is_few or not is_point_seen
    line = {"color": look.colour, "dash": look.dash, "width": width}
    yield {
        "type": "scatter",
        "mode": "lines+markers" if has_markers else "lines",
        "name": name,
        "legendgroup": name,
        "x": xs,
        "y": ys,
        "text": texts,
        "hoverinfo": "text",
        "line": line,
        "marker": {"color": look.colour, "size": 2 + 1.5 * width},
    }
    if not has_marked_ends:
        return
    yield {
        "type": "scatter",
        "mode": "markers",
        "name": f"{name} here",
        "legendgroup": name,
        "showlegend": False,
        "x": [xs[end] for end in ends],
        "y": [ys[end] for end in ends],
        "text": [f"{name} after {texts[end]}" for end in ends],
        "hoverinfo": "text",
        "marker": {"color": look.colour, "symbol": look.symbol, "size": 9},
    }


def thin(history: Sequence[Outcome], step: int) -> Sequence[Outcome]:
    """Return every `step`-th epoch, and the last."""
    return history if step == 1 else [*history[:-1:step], *history[-1:]]


def best_so_far(result: Outcome, chronology: Chronology) -> Figure:
    """Draw the best value that any trial had reported, by the time of the run."""
    scale, unit = unit_of(chronology.seconds)
    traces = [
        {**trace, "showlegend": False}
        for trace in staircase(result, chronology, "best so far", BEST, scale)
    ]
    return best_so_far_figure(traces, result["metric"], unit)


def best_so_far_figure(traces: Sequence[Trace], metric: str, unit: str) -> Figure:
    """Return a figure of staircases, whose time has that unit."""
    title = f"best {metric} so far"
    plot = figure(traces, x=f"time of the run ({unit})", y=title, log=("xaxis", "yaxis"))
    plot["layout"]["xaxis"] |= {"rangemode": "tozero"}
    return plot


def staircase(
    result: Outcome, chronology: Chronology, name: str, look: Look, scale: float
) -> Iterator[Trace]:
    """Yield the line of a run's best value by its time in units of so many seconds, if it has one.

    Values of failed trials do not count.
    """
    metric, goal = result["metric"], objective(result)
    failed = {t["trial_id"] for t in result["trials"] if t["status"] == TrialStatus.FAILED}
    known = {trial["trial_id"] for trial in result["trials"]} - failed
    xs: list[float] = []
    ys: list[float] = []
    texts: list[str] = []
    for report in chronology.reports:
        found: Any = report.metrics.get(metric)
        if report.trial_id not in known or not is_finite(found):
            continue
        if ys and not goal.better(found, ys[-1]):
            continue
        xs.append(round(report.seconds / scale, 4))
        ys.append(found)
        at = f"trial {report.trial_id}, epoch {report.epoch}, after {duration(report.seconds)}"
        texts.append(plain(f"{number(found)}: {at}"))
    if not xs:
        return
    yield {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "legendgroup": name,
        "x": [*xs, round(chronology.seconds / scale, 4)],
        "y": [*ys, ys[-1]],
        "text": [*texts, f"the end, after {duration(chronology.seconds)}"],
        "hoverinfo": "text",
        "line": {"shape": "hv", "color": look.colour, "dash": look.dash, "width": WIDTH},
        "marker": {"size": 7, "color": look.colour},
    }


def unit_of(seconds: float) -> tuple[float, str]:
    """Return the seconds and the name of the unit for an axis of that length."""
    return next((scale, name) for name, scale, most in UNITS if seconds <= most)
