"""A cluster of real nodes on this machine."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from tests.support.commands import free_port
from tests.support.coverage import unmeasured

Nodes = Any
"""Ray's `Cluster`, which has no types."""


def add_node(nodes: Nodes, number: int, *, cpus: int = 1, **more: object) -> Any:
    """A node; an address of its own makes it another machine to whoever joins."""
    options = {
        "num_cpus": cpus,
        "node_ip_address": f"127.0.0.{number}",
        "object_store_memory": 100 * 2**20,
        "include_dashboard": False,
        **more,
    }
    # On a busy machine the half minute that Ray gives a node may not do.
    for _ in range(4):
        with (
            contextlib.suppress(Exception),
            unmeasured(),
        ):  # what Ray raises here shares no class but this
            return nodes.add_node(dashboard_agent_listen_port=free_port(), **options)
    with unmeasured():
        return nodes.add_node(dashboard_agent_listen_port=free_port(), **options)


@pytest.fixture(scope="module")
def dashboard() -> str:
    """Address at which the head of the nodes listens for jobs."""
    return f"127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def nodes(dashboard: str) -> Iterator[Nodes]:
    """Two nodes in a folder of their own; a test adds the third, which it may kill."""
    before = os.environ["RAY_TMPDIR"]
    folder = os.environ["RAY_TMPDIR"] = tempfile.mkdtemp(prefix="tp", dir="/tmp")
    cluster: Nodes = Cluster()
    port = int(dashboard.rpartition(":")[2])
    add_node(cluster, 2, include_dashboard=True, dashboard_host="127.0.0.1", dashboard_port=port)
    add_node(cluster, 3)
    yield cluster
    cluster.shutdown()
    os.environ["RAY_TMPDIR"] = before
    shutil.rmtree(folder, ignore_errors=True)
