"""Room for a trial: in a cluster as it is, or once nodes have come that were waited for."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from app.cluster import connection, resources
from app.cluster.connection import Cluster
from app.cluster.resources import Resources
from app.cluster.signals import Interrupts
from app.experiment.errors import ExperimentError
from app.experiment.schema import Experiment

LOOK_S = 1.0


@dataclass(frozen=True)
class Patience:
    """How long to wait for nodes, and whom to tell of it."""

    wait_s: float
    say: Callable[[str], None]
    interrupts: Interrupts


def found(
    experiment: Experiment, machine: Cluster, patience: Patience
) -> tuple[Cluster, Resources]:
    """The cluster once it has room for a trial, and what each worker gets of it.

    Raises ExperimentError where it has none after all that time, or never will.
    """
    try:
        return machine, resources.share(experiment, machine)
    except ExperimentError as error:
        if machine.is_local or not patience.wait_s:
            raise
        patience.say(f"waiting up to {patience.wait_s:g} s for nodes: {error}")
    with patience.interrupts.deferred():
        connection.request(resources.wanted(experiment))
    try:
        return _waited_for(experiment, machine, patience)
    finally:
        with patience.interrupts.deferred():
            connection.request([])


def _waited_for(
    experiment: Experiment, machine: Cluster, patience: Patience
) -> tuple[Cluster, Resources]:
    until = time.monotonic() + patience.wait_s
    while True:
        time.sleep(min(LOOK_S, patience.wait_s))
        with patience.interrupts.deferred():
            machine = connection.again(machine)
        try:
            return machine, resources.share(experiment, machine)
        except ExperimentError as error:
            if time.monotonic() >= until:
                raise ExperimentError(f"{error} (after {patience.wait_s:g} s)") from error
