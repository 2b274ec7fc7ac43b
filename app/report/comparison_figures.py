"""Figures of several runs for plotly.js: a line for each run, by its best trial and by its time."""

from collections.abc import Mapping

from app.report.chronology import Chronology
from app.report.curves import WIDTH, best_so_far_figure, by_epoch, curves, staircase, unit_of
from app.report.outcome import Look, Outcome, best_id, plain
from app.report.plotting import Figure, Trace

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b07c00", "#9c6ba8", "#8a8a8a")
DASHES = ("solid", "dash", "dot", "dashdot")


def comparison_figures(runs: Mapping[str, tuple[Outcome, Chronology]]) -> dict[str, Figure]:
    """Return the figures of runs by their titles; none where their objectives differ.

    Args:
        runs: By name, the outcome of a run and its events by its seconds.
    """
    objectives = {(result["metric"], result["mode"]) for result, _ in runs.values()}
    if len(objectives) != 1:
        return {}
    ((metric, _),) = objectives
    scale, unit = unit_of(max(chronology.seconds for _, chronology in runs.values()))
    learning: list[Trace] = []
    best: list[Trace] = []
    for number, (name, (result, chronology)) in enumerate(runs.items()):
        look = _look(number)
        winner = [trial for trial in result["trials"] if trial["trial_id"] == best_id(result)]
        for trace in curves(metric, winner, plain(name), look, 1):
            learning.append({**trace, "line": trace["line"] | {"width": WIDTH}})
        best += staircase(result, chronology, plain(name), look, scale)
    last = max((trace["x"][-2] for trace in learning), default=0)
    found = {
        "Best so far": best_so_far_figure(best, metric, unit),
        "Learning curve of each best trial": by_epoch(learning, metric, last),
    }
    return {title: plot for title, plot in found.items() if plot["data"]}


def _look(number: int) -> Look:
    """Return how the run of that number is drawn: of the first 24, no two look the same."""
    dash = DASHES[number // len(COLOURS) % len(DASHES)]
    return Look(COLOURS[number % len(COLOURS)], "circle", dash)
