"""Capacity for a trial: in the cluster as it is, or once nodes have come that were waited for."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from app.cluster import connection, resources
from app.cluster.connection import Cluster
from app.cluster.resources import Resources
from app.cluster.signals import SignalHandler
from app.experiment.errors import ExperimentError
from app.experiment.schema import Experiment

POLL_S = 1.0


@dataclass(frozen=True)
class NodeWait:
    """How long to wait for nodes, and who is told of it."""

    timeout_s: float
    say: Callable[[str], None]
    signals: SignalHandler


def wait_for_capacity(
    experiment: Experiment, cluster: Cluster, wait: NodeWait
) -> tuple[Cluster, Resources]:
    """Wait until the cluster has room for a trial.

    Returns:
        The cluster with the nodes that it has then, and the resources of each worker.

    Raises:
        ExperimentError: The cluster has no room after all that time, or never will.
    """
    try:
        return cluster, resources.share(experiment, cluster)
    except ExperimentError as error:
        if cluster.is_local or not wait.timeout_s:
            raise
        wait.say(f"waiting up to {wait.timeout_s:g} s for nodes: {error}")
    with wait.signals.deferred():
        connection.request_nodes(resources.requested_nodes(experiment))
    try:
        return _poll(experiment, cluster, wait)
    finally:
        with wait.signals.deferred():
            connection.request_nodes([])


def _poll(experiment: Experiment, cluster: Cluster, wait: NodeWait) -> tuple[Cluster, Resources]:
    deadline = time.monotonic() + wait.timeout_s
    while True:
        time.sleep(min(POLL_S, wait.timeout_s))
        with wait.signals.deferred():
            cluster = connection.refresh(cluster)
        try:
            return cluster, resources.share(experiment, cluster)
        except ExperimentError as error:
            if time.monotonic() >= deadline:
                raise ExperimentError(f"{error} (after {wait.timeout_s:g} s)") from error
