"""Resources of a trial: an equal share of the cluster, or what the experiment asks for."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from app.cluster.connection import Cluster, Node
from app.experiment.errors import ExperimentError
from app.experiment.schema import Experiment

LEAST_CPUS = 0.01
"""The share of a trial if more are to run at once than there are hundredths of a CPU."""


@dataclass(frozen=True)
class Resources:
    """The resources of each worker, and the numbers of trials at once and of workers in each."""

    cpus: float
    gpus: float
    at_once: int
    workers: int = 1

    @property
    def threads(self) -> int:
        """Number of threads that a worker computes with."""
        return max(1, int(self.cpus))


def share(experiment: Experiment, cluster: Cluster) -> Resources:
    """Return the resources of each worker; raise ExperimentError if no trial has room."""
    trials = min(experiment.max_concurrent, experiment.num_samples)
    asked = experiment.resources
    workers = asked.workers_per_trial
    cpus, gpus = asked.cpus_per_trial, asked.gpus_per_trial
    if cpus is None:
        shared = _share_of([node.cpus for node in cluster.nodes], trials * workers)
        cpus = max(LEAST_CPUS, shared)
    if gpus is None:
        gpus = _gpus(cluster, trials, workers)
    _check("cpus", cpus, [node.cpus for node in cluster.nodes])
    _check("gpus", gpus, [node.gpus for node in cluster.nodes])
    capacity = sum(node.capacity(cpus, gpus) for node in cluster.nodes)
    if capacity < workers:
        raise ExperimentError(_too_many(workers, Node(cpus, gpus), cluster, capacity))
    return Resources(cpus, gpus, min(trials, capacity // workers), workers)


def requested_nodes(experiment: Experiment) -> list[Node]:
    """Return the needs of all workers that train at once: a CPU each unless the experiment says."""
    trials = min(experiment.max_concurrent, experiment.num_samples)
    asked = experiment.resources
    worker = Node(asked.cpus_per_trial or 1.0, asked.gpus_per_trial or 0.0)
    return [worker] * (trials * asked.workers_per_trial)


def _share_of(nodes: Sequence[float], count: int) -> float:
    """Return the greatest share, in hundredths and at most 1, of which the nodes hold `count`."""
    sizes = Counter(nodes)
    shares = {
        math.floor(size / parts * 100) / 100 for size in sizes for parts in range(1, count + 1)
    }
    for share in sorted({min(1.0, share) for share in shares if share > 0}, reverse=True):
        if sum(int(size / share + 1e-9) * many for size, many in sizes.items()) >= count:
            return share
    return 0.0


def _gpus(cluster: Cluster, trials: int, workers: int) -> float:
    """Return an equal share; several workers have a whole GPU each, as NCCL needs it, or none."""
    if workers == 1:
        return _share_of([node.gpus for node in cluster.nodes], trials)
    return 1.0 if sum(int(node.gpus) for node in cluster.nodes) >= workers else 0.0


def _check(kind: str, asked: float, nodes: Sequence[float]) -> None:
    most = max(nodes)
    if asked > most:
        where = "this machine has" if len(nodes) == 1 else "the largest node has"
        raise ExperimentError(
            f"{kind}_per_trial: a trial asks for {asked:g} {kind.upper()[:-1]}s, {where} {most:g};"
            f" ask for at most {most:g}"
        )


def _too_many(workers: int, worker: Node, cluster: Cluster, capacity: int) -> str:
    where = "this machine has" if len(cluster.nodes) == 1 else "the cluster's nodes have"
    return (
        f"workers_per_trial: a trial asks for {workers} workers of {amount(worker)}, {where}"
        f" {amount(cluster)} and room for {capacity}; ask for at most {capacity}, or for less of"
        " each"
    )


def amount(has: Node | Cluster | Resources) -> str:
    """Return numbers of CPUs and GPUs in words."""
    return f"{has.cpus:g} CPU" + (f" and {has.gpus:g} GPU" if has.gpus else "")
