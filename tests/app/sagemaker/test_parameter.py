"""Hyperparameter ranges and entries of a search space."""

from typing import Any

import pytest

from app.experiment.errors import SpaceError
from app.sagemaker.tuner import CategoricalParameter, ContinuousParameter, IntegerParameter


@pytest.mark.parametrize(
    ("parameter", "entry"),
    [
        (
            ContinuousParameter(0.001, 0.1),
            {"type": "continuous", "low": 0.001, "high": 0.1, "scale": "log"},
        ),
        (
            ContinuousParameter(0, 0.5),
            {"type": "continuous", "low": 0.0, "high": 0.5, "scale": "linear"},
        ),
        (
            ContinuousParameter(0.9, 0.99, "ReverseLogarithmic"),
            {"type": "continuous", "low": 0.9, "high": 0.99, "scale": "reverse-log"},
        ),
        (
            IntegerParameter(1, 4, scaling_type="Linear"),
            {"type": "integer", "low": 1, "high": 4, "scale": "linear"},
        ),
        (CategoricalParameter([32, 64]), {"type": "categorical", "values": [32, 64]}),
        (CategoricalParameter("sgd"), {"type": "categorical", "values": ["sgd"]}),
    ],
)
def test_a_range_is_an_entry_of_a_space(parameter: Any, entry: dict[str, Any]) -> None:
    assert parameter.as_entry() == entry


def test_an_unknown_scale_lists_those_there_are() -> None:
    with pytest.raises(SpaceError, match=r"^scaling_type: unknown 'x'; choose from Auto, "):
        ContinuousParameter(1, 2, "x").as_entry()
