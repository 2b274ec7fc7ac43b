"""Facts of an outcome: margin, trials that came near, and parameters at a bound."""

from typing import Any

import pytest

from app.experiment.space import parse
from app.report.facts import Margin, at_bounds, margin, near


def outcome(*losses: float | None, mode: str = "min", **config: Any) -> dict[str, Any]:
    trials = [
        {
            "trial_id": f"{number:03d}",
            "status": "failed" if loss is None else "completed",
            "config": config,
            "metrics": {"loss": 0.0 if loss is None else loss},
        }
        for number, loss in enumerate(losses, 1)
    ]
    sound = [loss for loss in losses if loss is not None]
    best = trials[losses.index(min(sound) if mode == "min" else max(sound))]
    return {"metric": "loss", "mode": mode, "trials": trials, "best": best}


def test_the_margin_is_to_the_next_trial_that_did_not_fail() -> None:
    found = margin(outcome(0.5, None, 0.4, 0.8))
    assert found == Margin(0.4, 0.5, "001")
    assert found.size == pytest.approx(0.1)
    assert found.share == pytest.approx(0.2)
    assert margin(outcome(0.9, 0.4, mode="max")) == Margin(0.9, 0.4, "002")
    assert Margin(-1.0, 0.0, "002").share is None
    assert Margin(1.0, 5e-324, "002").share is None


def test_one_trial_has_no_margin() -> None:
    assert margin(outcome(0.5, None)) is None
    assert margin({"metric": "loss", "mode": "min", "trials": [], "best": None}) is None


def test_near_is_measured_by_what_the_search_found() -> None:
    assert near(outcome(0.100, 0.104, 0.2, 0.3, 0.9)) == ["002"]
    assert near(outcome(100.0, 104.0, 200.0, 300.0, 900.0)) == ["002"]
    assert near(outcome(0.9, 0.895, 0.5, 0.4, mode="max")) == ["002"]
    assert near(outcome(0.1, 0.1, 0.1)) == []


SPACE = parse(
    {
        "lr": {"type": "continuous", "low": 0.001, "high": 0.1, "scale": "log"},
        "layers": {"type": "integer", "low": 1, "high": 1000},
        "size": {"type": "categorical", "values": [64, 32]},
        "rule": {"type": "categorical", "values": ["a", "b"]},
    }
)


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (
            {"lr": 0.1, "layers": 1, "size": 32, "rule": "a"},
            {"lr": "high", "layers": "low", "size": "low"},
        ),
        ({"lr": 0.00101, "layers": 500, "size": 64}, {"lr": "low", "size": "high"}),
        ({"lr": 0.01, "layers": 990}, {"layers": "high"}),
        ({"lr": 7.0, "layers": 500}, {}),
    ],
)
def test_a_parameter_is_at_a_bound_by_its_scale(
    config: dict[str, Any], found: dict[str, str]
) -> None:
    assert at_bounds(outcome(0.5, **config), SPACE) == found
