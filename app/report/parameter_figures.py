"""Figures of a run's parameters: each against the objective, and all of them side by side."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.experiment.distributions import Categorical, Continuous, Integer, fraction_between
from app.experiment.parameter import Parameter
from app.experiment.space import Space
from app.report.outcome import (
    BEST,
    LOOKS,
    Outcome,
    best_id,
    describe,
    objective,
    plain,
    rounded,
    valued,
)
from app.report.plotting import Figure, Trace, figure
from app.run.formatting import number
from app.run.status import TrialStatus
from app.storage.json_fields import is_number

BEST_FIRST = ("#0b5fa5", "#2f78a8", "#5a8ca6", "#8a8a8a", "#a6885a", "#b07c00", "#c26a00")
"""Colours of lines by rank: seen on white and on black, and told apart by the colour-blind."""
MAX_CHOICES = 8
"""Choices of a parameter up to which each has a label on its axis."""
MANY_LINES = 20
"""Lines of one colour from which they are thin and have no markers."""
LOG_RATIO = 20
"""Ratio of worst to best value from which an objective's axis is logarithmic."""
FAILED = LOOKS[TrialStatus.FAILED]


def slices(result: Outcome, space: Space) -> Iterator[tuple[str, Figure]]:
    """Yield the name of each parameter, and its values against the objective.

    Failed trials, which have no value that counts, stand on the axis below the others.
    """
    for name, parameter in space.parameters.items():
        yield name, _slice(result, name, parameter)


def _slice(result: Outcome, name: str, parameter: Parameter) -> Figure:
    best = best_id(result)
    # A journal of another version may have values of which this one's parameter knows nothing.
    trials = [trial for trial in result["trials"] if _has_place(parameter, trial["config"], name)]
    known = {trial["trial_id"] for trial in trials}
    pairs = [(trial, found) for trial, found in valued(result) if trial["trial_id"] in known]
    looks = {**{str(status): look for status, look in LOOKS.items()}, "best": BEST}
    data: list[Trace] = []
    for label, look in looks.items():
        chosen = [
            (trial, found)
            for trial, found in pairs
            if ("best" if trial["trial_id"] == best else trial["status"]) == label
        ]
        if chosen:
            shown, values = zip(*chosen, strict=True)
            trace = _points(result, shown, name, label, parameter)
            size = 15 if look is BEST else 8
            marker = {"color": look.colour, "symbol": look.symbol, "size": size}
            data.append({**trace, "y": [*map(rounded, values)], "marker": marker})
    plot = figure(data, x=name, y=result["metric"], log=("yaxis",))
    failed = [trial for trial in trials if trial["status"] == TrialStatus.FAILED]
    if failed:
        trace = _points(result, failed, name, "failed", parameter)
        marker = {"color": FAILED.colour, "symbol": FAILED.symbol, "size": 9}
        plot["data"].append({**trace, "y": [0.0] * len(failed), "yaxis": "y2", "marker": marker})
        hidden = {"visible": False, "fixedrange": True, "range": [-0.02, 1]}
        plot["layout"]["yaxis2"] = {"overlaying": "y", **hidden}
    plot["layout"]["xaxis"] |= _axis_of(parameter)
    return plot


def _has_place(parameter: Parameter, config: Mapping[str, Any], name: str) -> bool:
    return name in config and (isinstance(parameter, Categorical) or is_number(config[name]))


def _points(
    result: Outcome, trials: Sequence[Outcome], name: str, label: str, parameter: Parameter
) -> Trace:
    values = [trial["config"][name] for trial in trials]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": label,
        "x": [*map(_label if isinstance(parameter, Categorical) else rounded, values)],
        "text": [describe(result, trial, name) for trial in trials],
        "hoverinfo": "text",
        "cliponaxis": False,
    }


def _axis_of(parameter: Parameter) -> dict[str, Any]:
    """The axis of a parameter: its whole range, by its scale."""
    if isinstance(parameter, Categorical):
        values = sorted(parameter.values) if parameter.ordered else parameter.values
        labels = [*map(_label, values)]
        order = {"categoryorder": "array", "categoryarray": labels}
        return {"type": "category", **order, "range": [-0.5, len(labels) - 0.5]}
    assert isinstance(parameter, Continuous | Integer)  # there are no other kinds
    low, high = float(parameter.low), float(parameter.high)
    if parameter.scale == "log" and low < high:
        low, high = math.log10(low), math.log10(high)
        return {"type": "log", "range": _padded(low, high)}
    return {"range": _padded(low, high)}


def _padded(low: float, high: float) -> list[float]:
    room = (high - low) * 0.04 or 0.5
    return [low - room, high + room]


def _label(value: Any) -> str:
    return plain(number(value))


def parallel_coordinates(result: Outcome, space: Space) -> Figure:
    """Draw a line for each trial across an axis for each parameter, and one for the objective.

    Lines, since the trace of that name needs WebGL, whose code a strict page refuses to build.
    """
    pairs = valued(result)
    names = list(space.parameters)
    if not names or not pairs:
        return figure([])
    place = _objective_axis(result, [found for _, found in pairs])
    rows = [(trial, [*_places(space, trial), place(found)]) for trial, found in pairs]
    best, others = rows[0], rows[1:]
    data: list[Trace] = []
    for rank, colour in reversed(list(enumerate(BEST_FIRST))):
        share = others[_share(rank, len(others)) : _share(rank + 1, len(others))]
        label = {0: "the better ones", len(BEST_FIRST) - 1: "the worse ones"}.get(rank)
        data += _lines(result, names, share, colour, label, width=1.5)
    failed = [t for t in result["trials"] if t["status"] == TrialStatus.FAILED]
    ends = [(trial, [*_places(space, trial), None]) for trial in failed]
    data += _lines(result, names, ends, FAILED.colour, "failed", width=1.5, dash=FAILED.dash)
    data += _lines(
        result, names, [best], BEST.colour, f"best: trial {best[0]['trial_id']}", width=4
    )
    plot = figure(data)
    titles = [*map(plain, names), plain(result["metric"])]
    plot["layout"]["xaxis"] |= {
        "tickvals": list(range(len(titles))),
        "ticktext": titles,
        "range": [-0.2, len(titles) - 0.6],
        "gridwidth": 2,
        "zeroline": False,
    }
    plot["layout"]["yaxis"] |= {"range": [-0.08, 1.08], "visible": False}
    plot["layout"]["annotations"] = [*_ends(space, [found for _, found in pairs], result)]
    plot["layout"]["margin"] |= {"l": 24}
    return plot


def _share(rank: int, count: int) -> int:
    return rank * count // len(BEST_FIRST)


def _places(space: Space, trial: Outcome) -> list[float | None]:
    """How far into its range each parameter of a trial is; None for one that it has not."""
    config = trial["config"]
    return [
        round(parameter.fraction(config[name]), 4)
        if name in config and parameter.contains(config[name])
        else None
        for name, parameter in space.parameters.items()
    ]


def _objective_axis(result: Outcome, values: Sequence[float]) -> Any:
    """Return a function from a value to its place, 0 to 1; the best on top."""
    is_log = _is_log(values)
    scaled = [math.log(value) if is_log else value for value in values]
    low, high = min(scaled), max(scaled)

    def place(value: float) -> float:
        at = math.log(value) if is_log else value
        fraction = fraction_between(low, at, high)
        return round(1 - fraction if result["mode"] == "min" else fraction, 4)

    return place


def _is_log(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) / min(values) > LOG_RATIO


def _lines(
    result: Outcome,
    names: Sequence[str],
    rows: Sequence[tuple[Outcome, list[float | None]]],
    colour: str,
    label: str | None,
    *,
    width: float,
    dash: str = "solid",
) -> Iterator[Trace]:
    """Yield one trace of the lines of trials, with gaps between them."""
    if not rows:
        return
    xs: list[int | None] = []
    ys: list[float | None] = []
    texts: list[str] = []
    for trial, places in rows:
        xs += [*range(len(places)), None]
        ys += [*places, None]
        texts += [*(describe(result, trial, name) for name in (*names, None)), ""]
    is_few = len(rows) < MANY_LINES
    width = width if is_few else 0.5
    yield {
        "type": "scatter",
        # A marker is an element of the page.
        "mode": "lines+markers" if is_few else "lines",
        "name": label or "",
        "showlegend": label is not None,
        "x": xs,
        "y": ys,
        "text": texts,
        "hoverinfo": "text",
        "line": {"color": colour, "width": width, "dash": dash},
        "marker": {"color": colour, "size": 3 + 2 * width},
    }


def _ends(space: Space, values: Sequence[float], result: Outcome) -> Iterator[dict[str, Any]]:
    """Yield the labels of each axis: its ends, or the choices where they are few."""
    labels: list[dict[float, Any]] = []
    for parameter in space.parameters.values():
        ends = {0.0: parameter.at(0.0), 1.0: parameter.at(1.0)}
        if isinstance(parameter, Categorical) and len(parameter.values) <= MAX_CHOICES:
            ends = {parameter.fraction(choice): choice for choice in parameter.values}
        labels.append(ends)
    goal = objective(result)
    labels.append({0.0: max(values, key=goal.as_loss), 1.0: min(values, key=goal.as_loss)})
    for index, places in enumerate(labels):
        for y, value in places.items():
            beside = {"xanchor": "left", "xshift": 7, "showarrow": False}
            yield {"x": index, "y": y, **beside, "text": _label(value)}
