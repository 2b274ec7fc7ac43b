"""Figures of a run for plotly.js, as JSON: learning curves, best so far, timeline, importance.

A figure has `data` and `layout`. Its `layout.meta.log` lists the axes that may be logarithmic:
a page offers that beside it. Colours of text and lines of a grid are the page's.
"""

from collections.abc import Mapping

from app.experiment.space import Space
from app.report.chronology import Chronology
from app.report.curves import FEW, best_so_far, learning_curves, unit_of
from app.report.importance import importances
from app.report.outcome import BEST, LOOKS, Outcome, best_id, plain
from app.report.parameter_figures import parallel_coordinates, slices
from app.report.plotting import Figure, Trace, figure
from app.run.formatting import duration
from app.run.status import TrialStatus

MAX_SLICES = 12
"""Parameters, the most important first, that have a figure of their own."""
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


def timeline(result: Outcome, chronology: Chronology) -> Figure:
    """Draw a bar from start to end for each start of a trial, by its number."""
    statuses = {trial["trial_id"]: trial["status"] for trial in result["trials"]}
    best = best_id(result)
    scale, unit = unit_of(chronology.seconds)
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
    plot["layout"]["yaxis"] |= {"type": "category", "automargin": True, "ticksuffix": "  "}
    plot["layout"]["height"] = 120 + 44 * len(ordered)
    return plot
