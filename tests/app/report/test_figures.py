"""Figures of a run: each is one that plotly.js draws, and tells trials apart."""

import json
from itertools import cycle
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import plotly.offline
import pytest

from app.experiment.space import Space, parse
from app.report import STATIC, chronology
from app.report.chronology import Chronology, Span
from app.report.curves import MAX_POINTS, learning_curves
from app.report.figures import run_figures
from app.run import store
from tests.support.searches import experiment, write_search


def figures_of(folder: Path, **keys: Any) -> dict[str, Any]:
    write_search(folder, 10, **keys)
    asked = experiment(num_samples=10, **keys)
    return run_figures(store.read(folder).result, asked.parameters, chronology.read(folder))


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return figures_of(tmp_path_factory.mktemp("runs") / "one")


def names(figure: dict[str, Any]) -> list[str]:
    return [trace["name"] for trace in figure["data"] if trace.get("showlegend", True)]


def test_plotly_knows_every_key_of_every_figure(figures: dict[str, Any]) -> None:
    assert list(figures) == [
        "Learning curves",
        "Best so far",
        "Importance of parameters",
        "Parallel coordinates",
        "lr against average_test_loss",
        "batch_size against average_test_loss",
        "Timeline of trials",
    ]
    for figure in figures.values():
        go.Figure(figure)
        assert {trace["type"] for trace in figure["data"]} <= {"scatter", "bar"}


def test_the_bundle_is_of_the_version_that_checks_the_figures() -> None:
    head = (STATIC / "plotly-basic.min.js").read_text(encoding="utf-8")[:200]
    assert f"(basic - minified) v{plotly.offline.get_plotlyjs_version()}\n" in head


def test_trials_are_told_apart_by_status(figures: dict[str, Any]) -> None:
    curves = figures["Learning curves"]
    assert names(curves) == ["completed", "stopped", "failed", "best: trial 007"]
    looks = [(t["line"]["color"], t["line"]["dash"]) for t in curves["data"] if "line" in t]
    assert len(set(looks)) == len(looks)
    ends = {t["name"]: t["text"] for t in curves["data"] if t["mode"] == "markers"}
    assert [text.split(",")[0] for text in ends["failed here"]] == [
        "failed after trial 005",
        "failed after trial 010",
    ]
    assert names(figures["lr against average_test_loss"]) == [
        *("completed", "stopped", "best", "failed")
    ]
    assert names(figures["Timeline of trials"]) == ["completed", "stopped", "failed", "best"]


def test_logarithmic_scales_are_offered_above_zero_alone(tmp_path: Path) -> None:
    assert figures_of(tmp_path / "one")["Learning curves"]["layout"]["meta"] == {"log": ["yaxis"]}
    negative = figures_of(tmp_path / "two", mode="max")
    result = store.read(tmp_path / "two").result
    result["trials"][0]["history"][0]["average_test_loss"] = -1.0
    assert learning_curves(result)["layout"]["meta"] == {"log": []}
    assert negative["Best so far"]["layout"]["meta"]["log"]


def test_names_of_users_are_text_and_no_markup(tmp_path: Path) -> None:
    space = {"<b>x": {"type": "continuous", "low": 0, "high": 1}}
    result = {
        "metric": "<i>loss",
        "mode": "min",
        "best": None,
        "trials": [
            {
                "trial_id": "001",
                "status": "completed",
                "config": {"<b>x": 0.5},
                "metrics": {"<i>loss": 1.0},
                "history": [{"epoch": 1, "<i>loss": 1.0}],
                "epochs": 1,
            }
        ],
    }
    for figure in run_figures(result, parse(space), Chronology()).values():
        for text in (*_texts(figure["data"]), *_texts(figure["layout"])):
            assert "<" not in text.replace("<br>", "")


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for item in value.values() for text in _texts(item)]
    if isinstance(value, (list, tuple)):
        return [text for item in value for text in _texts(item)]
    return []


def test_curves_of_many_epochs_are_thinned() -> None:
    history = [{"epoch": number, "loss": 1.0} for number in range(1, 2 * MAX_POINTS)]
    trial = {
        "trial_id": "001",
        "status": "completed",
        "config": {},
        "history": history,
        "epochs": 2,
    }
    result = {"metric": "loss", "mode": "min", "best": None, "trials": [trial]}
    data = learning_curves(result)["data"]
    points = [x for trace in data for x in trace["x"] if x is not None]
    assert len(points) <= MAX_POINTS + 1
    assert points[-1] == len(history)


def test_a_run_without_trials_has_no_figures() -> None:
    empty: dict[str, Any] = {"metric": "loss", "mode": "min", "best": None, "trials": []}
    assert run_figures(empty, Space({}), Chronology()) == {}


def test_an_interrupted_trial_has_a_bar_for_each_of_its_starts() -> None:
    line = Chronology()
    start = {"event": "trial", "trial_id": "001"}
    for event in (
        {**start, "run_seconds": 1.0},
        {"event": "epoch", "trial_id": "001", "epoch": 1, "metrics": {}, "run_seconds": 3.0},
        {"event": "run", "run_seconds": 3.5},  # after a crash, which no event tells of
        {**start, "run_seconds": 4.0},
        {"event": "end", "trial_id": "001", "run_seconds": 6.0},
        {"event": "trial", "trial_id": "002", "run_seconds": 6.0},
        {"event": "status", "run_seconds": 7.0},
    ):
        line.apply(event)
    assert line.spans == [Span("001", 1.0, 3.0), Span("001", 4.0, 6.0), Span("002", 6.0, 7.0)]


def test_lines_of_many_trials_have_no_markers_but_where_a_line_is_a_point(tmp_path: Path) -> None:
    write_search(tmp_path / "one", 100)
    result = store.read(tmp_path / "one").result
    modes = {trace["name"]: trace["mode"] for trace in learning_curves(result)["data"]}
    assert (modes["completed"], modes["stopped"]) == ("lines", "lines+markers")
    for trial in result["trials"]:
        trial["history"] = trial["history"][:1]
    modes = {trace["name"]: trace["mode"] for trace in learning_curves(result)["data"]}
    assert modes["completed"] == "lines+markers"


def test_losses_as_far_apart_as_can_be_are_drawn(tmp_path: Path) -> None:
    write_search(tmp_path / "one", 10)
    result = store.read(tmp_path / "one").result
    for trial, loss in zip(result["trials"], cycle([-1.7e308, 1.7e308, 5e-324]), strict=False):
        trial["metrics"]["average_test_loss"] = loss
    drawn = run_figures(
        result, experiment(num_samples=10).parameters, chronology.read(tmp_path / "one")
    )
    json.dumps(drawn, allow_nan=False)
    assert "Parallel coordinates" in drawn
