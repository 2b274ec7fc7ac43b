"""Which of two values is better is decided in one place."""

import math

import pytest

from app.experiment.objective import Objective

VALUES = [3.0, -1.0, 2.0]


@pytest.mark.parametrize(("mode", "best", "worst"), [("min", -1.0, 3.0), ("max", 3.0, -1.0)])
def test_the_best_value_has_the_least_loss(mode: str, best: float, worst: float) -> None:
    objective = Objective("loss", mode)
    assert min(VALUES, key=objective.as_loss) == best
    assert max(VALUES, key=objective.as_loss) == worst
    assert objective.better(best, worst)
    assert not objective.better(worst, best)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_no_value_is_better_than_itself_or_than_no_number(mode: str) -> None:
    objective = Objective("loss", mode)
    assert not objective.better(1.0, 1.0)
    assert not objective.better(math.nan, 1.0)
    assert not objective.better(1.0, math.nan)


@pytest.mark.parametrize(("mode", "direction"), [("min", "minimize"), ("max", "maximize")])
def test_the_direction_has_its_name_in_optuna(mode: str, direction: str) -> None:
    assert Objective("loss", mode).direction == direction
