"""Which node a trial is put on, where trials are packed."""

from collections.abc import Mapping

import pytest

from app.cluster.placement import PLACED_BY, fullest
from app.experiment import schema
from app.experiment.schema import PLACEMENTS, ExperimentError


@pytest.mark.parametrize(
    ("nodes", "asked", "node"),
    [
        ({"a": {"CPU": 4.0}, "b": {"CPU": 1.0}, "c": {"CPU": 0.5}}, {"CPU": 1.0}, "b"),
        ({"a": {"CPU": 0.34}, "b": {"CPU": 1.0}}, {"CPU": 0.34}, "a"),
        ({"b": {"CPU": 1.0}, "a": {"CPU": 1.0}}, {"CPU": 1.0}, "a"),
        ({"a": {"CPU": 1.0, "GPU": 1.0}, "b": {"CPU": 8.0}}, {"CPU": 1.0}, "b"),
        (
            {"a": {"CPU": 8.0, "GPU": 0.5}, "b": {"CPU": 1.0, "GPU": 4.0}},
            {"CPU": 1.0, "GPU": 0.5},
            "a",
        ),
        ({"a": {"CPU": 0.5}, "b": {}}, {"CPU": 1.0}, None),
    ],
)
def test_the_node_with_the_least_left_that_will_do(
    nodes: Mapping[str, Mapping[str, float]], asked: Mapping[str, float], node: str | None
) -> None:
    assert fullest(nodes, asked) == node


def test_an_experiment_names_one_that_there_is() -> None:
    assert tuple(PLACED_BY) == PLACEMENTS
    assert schema.load(None, {}).placement == "spread"
    assert schema.load(None, {"placement": "pack"}).as_json()["resources"]["placement"] == "pack"
    told = r"^placement: unknown 'here'; choose from spread, pack$"
    with pytest.raises(ExperimentError, match=told):
        schema.load(None, {"placement": "here"})
