"""Waiting for capacity: only where nodes may come."""

import pytest

from app.cluster import capacity, resources
from app.cluster.capacity import NodeWait
from app.cluster.connection import Cluster, Node
from app.cluster.resources import Resources
from app.cluster.signals import SignalHandler
from app.experiment import loading
from app.experiment.errors import ExperimentError
from app.experiment.schema import Experiment


def asking(**flags: object) -> Experiment:
    return loading.load(None, flags)


def waiting(told: list[str], *, wait_s: float) -> NodeWait:
    return NodeWait(wait_s, told.append, SignalHandler())


@pytest.mark.parametrize(("is_local", "wait_s"), [(True, 100.0), (False, 0.0)])
def test_a_request_that_cannot_be_met_is_refused_at_once(is_local: bool, wait_s: float) -> None:
    told: list[str] = []
    machine = Cluster((Node(2.0, 0.0),), dashboard=None, is_local=is_local)
    with pytest.raises(ExperimentError, match="a trial asks for 4 CPUs"):
        capacity.wait_for_capacity(
            asking(cpus_per_trial=4.0), machine, waiting(told, wait_s=wait_s)
        )
    assert told == []


def test_a_cluster_with_room_is_not_waited_for() -> None:
    told: list[str] = []
    machine = Cluster((Node(2.0, 0.0),), dashboard=None, is_local=False)
    found = capacity.wait_for_capacity(
        asking(cpus_per_trial=1.0), machine, waiting(told, wait_s=100)
    )
    assert found == (machine, Resources(1.0, 0.0, at_once=2))
    assert told == []


def test_nodes_are_requested_for_all_trials_at_once() -> None:
    asked = asking(max_concurrent=4, gpus_per_trial=0.5, workers_per_trial=2)
    assert resources.requested_nodes(asked) == [Node(1.0, 0.5)] * 8
    assert resources.requested_nodes(asking(num_samples=1, cpus_per_trial=2.0)) == [Node(2.0, 0.0)]
