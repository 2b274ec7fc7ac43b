"""Shares of a machine and of a cluster."""

import pytest

from app.cluster import resources
from app.cluster.connection import Cluster, Node
from app.cluster.resources import Resources
from app.experiment import loading
from app.experiment.errors import ExperimentError
from app.experiment.schema import Experiment


def machine(cpus: float = 2, gpus: float = 0, nodes: int = 1) -> Cluster:
    each = Node(cpus / nodes, gpus / nodes)
    return Cluster((each,) * nodes, dashboard=None, is_local=True)


def asking(**flags: object) -> Experiment:
    return loading.load(None, flags)


@pytest.mark.parametrize(
    ("has", "flags", "share"),
    [
        (machine(2), {}, Resources(0.66, 0, at_once=3)),
        (machine(1), {}, Resources(0.33, 0, at_once=3)),
        (machine(16), {}, Resources(1, 0, at_once=3)),
        (machine(8, gpus=1), {}, Resources(1, 0.33, at_once=3)),
        (machine(8, gpus=4), {}, Resources(1, 1, at_once=3)),
        (machine(2), {"max_concurrent": 2}, Resources(1, 0, at_once=2)),
        (machine(2), {"num_samples": 1}, Resources(1, 0, at_once=1)),
        (machine(2), {"cpus_per_trial": 2.0}, Resources(2, 0, at_once=1)),
        (machine(8, gpus=1), {"gpus_per_trial": 0.5}, Resources(1, 0.5, at_once=2)),
        (machine(2), {"workers_per_trial": 2}, Resources(0.33, 0, at_once=3, workers=2)),
        (machine(16), {"workers_per_trial": 2}, Resources(1, 0, at_once=3, workers=2)),
        (
            machine(2),
            {"workers_per_trial": 2, "cpus_per_trial": 1.0},
            Resources(1, 0, at_once=1, workers=2),
        ),
        # No worker is on two nodes: two thirds of a CPU fit twice there, and not three times.
        (machine(2, nodes=2), {}, Resources(0.5, 0, at_once=3)),
        (machine(3, nodes=3), {"workers_per_trial": 4}, Resources(0.25, 0, at_once=3, workers=4)),
        (machine(8, gpus=4), {"workers_per_trial": 2}, Resources(1, 1, at_once=2, workers=2)),
        (machine(8, gpus=1), {"workers_per_trial": 2}, Resources(1, 0, at_once=3, workers=2)),
    ],
)
def test_trials_share_what_there_is(
    has: Cluster, flags: dict[str, object], share: Resources
) -> None:
    assert resources.share(asking(**flags), has) == share


@pytest.mark.parametrize(("cpus", "threads"), [(0.33, 1), (1, 1), (1.9, 1), (4, 4)])
def test_a_trial_computes_with_its_whole_cpus(cpus: float, threads: int) -> None:
    assert Resources(cpus, 0, at_once=1).threads == threads


@pytest.mark.parametrize(
    ("has", "flags", "message"),
    [
        (
            machine(2),
            {"cpus_per_trial": 64.0},
            "cpus_per_trial: a trial asks for 64 CPUs, this machine has 2; ask for at most 2",
        ),
        (
            machine(8, gpus=4, nodes=2),
            {"gpus_per_trial": 4.0},
            "gpus_per_trial: a trial asks for 4 GPUs, the largest node has 2; ask for at most 2",
        ),
        (
            machine(2),
            {"workers_per_trial": 3, "cpus_per_trial": 1.0},
            "workers_per_trial: a trial asks for 3 workers of 1 CPU, this machine has 2 CPU and"
            " room for 2; ask for at most 2, or for less of each",
        ),
        (
            machine(3, gpus=2, nodes=2),
            {"workers_per_trial": 3, "cpus_per_trial": 1.0, "gpus_per_trial": 0.5},
            "workers_per_trial: a trial asks for 3 workers of 1 CPU and 0.5 GPU, the cluster's"
            " nodes have 3 CPU and 2 GPU and room for 2; ask for at most 2, or for less of each",
        ),
    ],
)
def test_more_than_a_node_has_is_refused(
    has: Cluster, flags: dict[str, object], message: str
) -> None:
    with pytest.raises(ExperimentError, match=f"^{message}$"):
        resources.share(asking(**flags), has)
