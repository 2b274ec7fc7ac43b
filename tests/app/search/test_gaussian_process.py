"""The Gaussian process over warped losses."""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import optuna
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from app.search.gaussian_process import GaussianProcessSampler, log_distance

Direction = Literal["minimize", "maximize"]
SPACE: dict[str, BaseDistribution] = {
    "x": FloatDistribution(0.0, 1.0),
    "y": FloatDistribution(0.0, 1.0),
}
POINTS = [(0.1, 0.2), (0.5, 0.5), (0.9, 0.4), (0.3, 0.8), (0.7, 0.1)]


def study(direction: Direction, value: Callable[[float, float], float]) -> optuna.Study:
    """Five finished trials, a failed one and one that is running."""
    made = optuna.create_study(direction=direction, sampler=GaussianProcessSampler(seed=1))
    for x, y in POINTS:
        made.add_trial(
            create_trial(params={"x": x, "y": y}, distributions=SPACE, value=value(x, y))
        )
    made.add_trial(create_trial(state=TrialState.FAIL))
    running = create_trial(
        params={"x": 0.6, "y": 0.6}, distributions=SPACE, state=TrialState.RUNNING
    )
    made.add_trial(running)
    return made


def suggest(direction: Direction, value: Callable[[float, float], float]) -> dict[str, float]:
    return study(direction, value).ask(SPACE).params


def bowl(x: float, y: float) -> float:
    return 0.04 + (x - 0.45) ** 2 + (y - 0.55) ** 2


def test_maximizing_suggests_what_minimizing_the_negative_suggests() -> None:
    assert suggest("maximize", lambda x, y: -bowl(x, y)) == suggest("minimize", bowl)


def test_the_scale_of_losses_does_not_change_the_suggestion() -> None:
    scaled = suggest("minimize", lambda x, y: 1024 * bowl(x, y))
    assert scaled == pytest.approx(suggest("minimize", bowl), abs=1e-3)


def test_nothing_is_suggested_where_a_trial_diverged() -> None:
    assert suggest("minimize", lambda x, y: 1e6 if x > 0.8 else bowl(x, y))["x"] < 0.8


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30))
@example([0.0, 4.0, 2.2250738585072014e-308])
@example([-1.7e308, 1.7e308, 1.7e308])
def test_warping_keeps_the_order(losses: Sequence[float]) -> None:
    warped = log_distance(losses)
    assert min(warped) == 0
    ordered = [warped[index] for index in sorted(range(len(losses)), key=losses.__getitem__)]
    assert all(math.isfinite(value) for value in warped)
    assert ordered == sorted(ordered)


def test_equal_losses_stay_equal() -> None:
    assert list(log_distance([0.5, 0.5, 0.5])) == [0, 0, 0]
