"""The frame of every figure: axes, margins and legend, with the colours left to the page."""

from collections.abc import Sequence
from typing import Any

from app.report.outcome import plain

Trace = dict[str, Any]
Figure = dict[str, Any]
"""`data`, a list of traces, and `layout`: what `Plotly.newPlot` takes."""
TRANSPARENT = "rgba(0,0,0,0)"
NEUTRAL = "#8a8a8a"
"""Grey that is seen on white and on black."""


def figure(data: Sequence[Trace], *, x: str = "", y: str = "", log: Sequence[str] = ()) -> Figure:
    """Return a figure of traces.

    Args:
        data: The traces; none where there is nothing to draw.
        x: Title of the axis.
        y: Title of the axis.
        log: The axes that a reader may want logarithmic, left out where a value is not above 0.
    """
    layout: dict[str, Any] = {
        "autosize": True,
        "height": 400,
        "margin": {"l": 64, "r": 16, "t": 36, "b": 52},
        "paper_bgcolor": TRANSPARENT,
        "plot_bgcolor": TRANSPARENT,
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": NEUTRAL},
        "hovermode": "closest",
        "hoverlabel": {"align": "left"},
        "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"},
        "xaxis": axis(x),
        "yaxis": axis(y),
        "meta": {"log": [name for name in log if _is_positive(data, name[0])]},
    }
    return {"data": list(data), "layout": layout}


def axis(title: str) -> dict[str, Any]:
    """Return an axis with that title."""
    grid = {"gridcolor": NEUTRAL, "zerolinecolor": NEUTRAL, "automargin": True}
    return {"title": {"text": plain(title)}, **grid}


def _is_positive(data: Sequence[Trace], name: str) -> bool:
    values = [value for trace in data for value in trace[name] if value is not None]
    return bool(values) and all(value > 0 for value in values)
