"""Figures of a run for plotly.js, as JSON: learning curves, best so far, timeline, importance.

A figure has `data` and `layout`. Its `layout.meta.log` lists the axes that may be logarithmic:
a page offers that beside it. Colours of text and lines of a grid are the page's.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.experiment.result_keys import is_finite
from app.experiment.space import Space
from app.report.chronology import Chronology
from app.report.importance import importances
from app.report.outcome import BEST, LOOKS, Look, Outcome, best_id, objective, plain, rounded
from app.report.parameter_figures import parallel_coordinates, slices
from app.report.plotting import Figure, Trace, figure
from app.run.formatting import duration, number
from app.run.status import TrialStatus

MAX_POINTS = 10_000
"""Points of a figure that a browser draws at once; learning curves of more epochs are thinned."""
MAX_SLICES = 12
"""Parameters, the most important first, that have a figure of their own."""
MANY_TRIALS = 40
"""Trials from which their lines are thin."""
FEW = 20
"""Epochs or trials up to which an axis names each."""
UNITS = (("s", 1.0, 180.0), ("min", 60.0, 10_800.0), ("h", 3600.0, math.inf))
"""Units of time: name, seconds, and the seconds up to which an axis has it."""
IMPORTANCE_COLOUR = LOOKS[TrialStatus.COMPLETED].colour


def run_figures(result: Outcome, space: Space, chronology: Chronology) -> dict[str, Figure]:
    """Return every figure of a run by its title, in the order in which a page shows them.

    Args:
        result: The run's outcome, as `Record.as_json` and `result.json` have it.
        space: The search space; without parameters where it is not known.
        chronology: The run's events by its seconds.
    """
    shares = importances(result, space)
    ordered = sorted(space.parameters, key=lambda name: -shares.get(name, 0))
    shown = Space({name: space.parameters[name] for name in ordered[:MAX_SLICES]})
    found = {
        "Learning curves": learning_curves(result),
        "Best so far": best_so_far(result, chronology),
        "Importance of parameters": importance(shares),
        "Parallel coordinates": parallel_coordinates(result, space),
        **{f"{name} against {result['metric']}": plot for name, plot in slices(result, shown)},
        "Timeline of trials": timeline(result, chronology),
    }
    return {title: plot for title, plot in found.items() if plot["data"]}


def learning_curves(result: Outcome) -> Figure:
    """Draw the metric by epoch: a line for each trial, ends of stopped and failed ones marked."""
    metric, best = result["metric"], best_id(result)
    total = sum(len(trial["history"]) for trial in result["trials"])
    step = max(1, math.ceil(total / MAX_POINTS))
    data: list[Trace] = []
    for status, look in LOOKS.items():
        trials = [trial for trial in result["trials"] if trial["status"] == status]
        data += _curves(metric, [t for t in trials if t["trial_id"] != best], status, look, step)
    winner = [trial for trial in result["trials"] if trial["trial_id"] == best]
    data += _curves(metric, winner, f"best: trial {best}", BEST, step)
    plot = figure(data, x="epoch", y=metric, log=("yaxis",))
    last = max((trial["epochs"] for trial in result["trials"]), default=0)
    plot["layout"]["xaxis"] |= {"tickformat": "d", **({"dtick": 1} if last <= FEW else {})}
    return plot


def _curves(
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
    width = 3 if look is BEST else 1.3 if len(ends) < MANY_TRIALS else 0.6
    line = {"color": look.colour, "dash": look.dash, "width": width}
    yield {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "legendgroup": name,
        "x": xs,
        "y": ys,
        "text": texts,
        "hoverinfo": "text",
        "line": line,
        "marker": {"color": look.colour, "size": 2 + 1.5 * width},
    }
    if look.symbol not in ("x", "square"):
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
    metric, goal = result["metric"], objective(result)
    failed = {t["trial_id"] for t in result["trials"] if t["status"] == TrialStatus.FAILED}
    known = {trial["trial_id"] for trial in result["trials"]} - failed
    scale, unit = _unit(chronology.seconds)
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
        return figure([])
    end = round(chronology.seconds / scale, 4)
    trace = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "best so far",
        "x": [*xs, end],
        "y": [*ys, ys[-1]],
        "text": [*texts, f"the end, after {duration(chronology.seconds)}"],
        "hoverinfo": "text",
        "line": {"shape": "hv", "color": BEST.colour, "width": 2.5},
        "marker": {"size": 7, "color": BEST.colour},
        "showlegend": False,
    }
    title = f"best {metric} so far"
    plot = figure([trace], x=f"time of the run ({unit})", y=title, log=("xaxis", "yaxis"))
    plot["layout"]["xaxis"] |= {"rangemode": "tozero"}
    return plot


def timeline(result: Outcome, chronology: Chronology) -> Figure:
    """Draw a bar from start to end for each start of a trial, by its number."""
    statuses = {trial["trial_id"]: trial["status"] for trial in result["trials"]}
    best = best_id(result)
    scale, unit = _unit(chronology.seconds)
    data: list[Trace] = []
    looks = {**{str(status): look for status, look in LOOKS.items()}, "best": BEST}
    for name, look in looks.items():
        spans = [
            span
            for span in chronology.spans
            if ("best" if span.trial_id == best else statuses.get(span.trial_id)) == name
        ]
        if not spans:
            continue
        lengths = [span.ended_s - span.began_s for span in spans]
        texts = [
            f"trial {span.trial_id}, {name}: {duration(length)} from {duration(span.began_s)} on"
            for span, length in zip(spans, lengths, strict=True)
        ]
        trace = {
            "type": "bar",
            "orientation": "h",
            "name": name,
            "base": [round(span.began_s / scale, 4) for span in spans],
            "x": [round(length / scale, 4) for length in lengths],
            "y": [int(span.trial_id) for span in spans],
            "width": 0.75,
            "hovertext": [*map(plain, texts)],
            "hoverinfo": "text",
            "marker": {"color": look.colour},
        }
        data.append(trace)
    plot = figure(data, x=f"time of the run ({unit})", y="trial")
    rows = max(map(int, statuses), default=1)
    ends = {"range": [rows + 0.6, 0.4], "tickformat": "d"}
    plot["layout"]["yaxis"] |= {**ends, **({"dtick": 1} if rows <= FEW else {})}
    plot["layout"]["xaxis"] |= {"rangemode": "tozero"}
    plot["layout"] |= {"barmode": "overlay", "height": min(720, 150 + 22 * rows)}
    return plot


def importance(shares: Mapping[str, float]) -> Figure:
    """Draw the share of each parameter in what makes a trial good, the greatest on top."""
    ordered = sorted(shares.items(), key=lambda share: share[1])
    if not ordered:
        return figure([])
    trace = {
        "type": "bar",
        "orientation": "h",
        "x": [round(share, 4) for _, share in ordered],
        "y": [plain(name) for name, _ in ordered],
        "text": [f"{share:.0%}" for _, share in ordered],
        "textposition": "outside",
        "cliponaxis": False,
        "hoverinfo": "none",
        "marker": {"color": IMPORTANCE_COLOUR},
        "showlegend": False,
    }
    plot = figure([trace], x="importance")
    plot["layout"]["xaxis"] |= {"range": [0, 1.12], "tickformat": ".0%", "dtick": 0.25}
    plot["layout"]["yaxis"] |= {"type": "category", "automargin": True}
    plot["layout"]["height"] = 120 + 44 * len(ordered)
    return plot


def _unit(seconds: float) -> tuple[float, str]:
    """Return the seconds and the name of the unit for an axis of that length."""
    return next((scale, name) for name, scale, most in UNITS if seconds <= most)
