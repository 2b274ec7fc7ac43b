"""Room for a trial: waited for only where it may come."""

import pytest

from app.cluster import capacity, resources
from app.cluster.capacity import Patience
from app.cluster.connection import Cluster, Node
from app.cluster.resources import Resources
from app.cluster.signals import Interrupts
from app.experiment import loading
from app.experiment.errors import ExperimentError
from app.experiment.schema import Experiment


def asking(**flags: object) -> Experiment:
    return loading.load(None, flags)


def patience(told: list[str], *, wait_s: float) -> Patience:
    return Patience(wait_s, told.append, Interrupts())


@pytest.mark.parametrize(("is_local", "wait_s"), [(True, 100.0), (False, 0.0)])
def test_without_time_or_hope_too_much_is_refused_at_once(is_local: bool, wait_s: float) -> None:
    told: list[str] = []
    machine = Cluster((Node(2.0, 0.0),), dashboard=None, is_local=is_local)
    with pytest.raises(ExperimentError, match="a trial asks for 4 CPUs"):
        capacity.found(asking(cpus_per_trial=4.0), machine, patience(told, wait_s=wait_s))
    assert told == []


def test_where_there_is_room_nothing_is_waited_for() -> None:
    told: list[str] = []
    machine = Cluster((Node(2.0, 0.0),), dashboard=None, is_local=False)
    found = capacity.found(asking(cpus_per_trial=1.0), machine, patience(told, wait_s=100))
    assert found == (machine, Resources(1.0, 0.0, at_once=2))
    assert told == []


def test_what_all_that_train_at_once_need_is_wanted() -> None:
    asked = asking(max_concurrent=4, gpus_per_trial=0.5, workers_per_trial=2)
    assert resources.wanted(asked) == [Node(1.0, 0.5)] * 8
    assert resources.wanted(asking(num_samples=1, cpus_per_trial=2.0)) == [Node(2.0, 0.0)]
