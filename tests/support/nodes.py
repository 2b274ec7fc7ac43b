"""A cluster of real nodes on this machine, started once for all tests of a process."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from app.cluster.connection import runtime_env
from tests.support.commands import free_port, stay_connected

Nodes = Any
"""Ray's `Cluster`, which has no types."""


def add_node(nodes: Nodes, caches: Path, number: int, *, cpus: int = 1, **more: object) -> Any:
    """A node with an address and a cache of its own, and no keys for any store.

    The address makes it another machine to whoever joins.
    """
    own = {"XDG_CACHE_HOME": str(caches / f"node-{number}"), "AWS_ACCESS_KEY_ID": ""}
    options = {
        "num_cpus": cpus,
        "node_ip_address": f"127.0.0.{number}",
        "object_store_memory": 100 * 2**20,
        "include_dashboard": False,
        "env_vars": own,
        **more,
    }
    # On a busy machine the half minute that Ray gives a node may not do.
    for _ in range(4):
        with contextlib.suppress(Exception):  # what Ray raises here shares no class but this
            return nodes.add_node(dashboard_agent_listen_port=free_port(), **options)
    return nodes.add_node(dashboard_agent_listen_port=free_port(), **options)


@pytest.fixture(scope="session")
def dashboard() -> str:
    """Address at which the head of the nodes listens for jobs."""
    return f"127.0.0.1:{free_port()}"


@pytest.fixture(scope="session")
def caches() -> Iterator[Path]:
    """The folder in which every node has its cache."""
    with tempfile.TemporaryDirectory(prefix="tp", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def two_nodes(dashboard: str, caches: Path) -> Iterator[Nodes]:
    """Two nodes in a folder of their own."""
    before = os.environ["RAY_TMPDIR"]
    folder = os.environ["RAY_TMPDIR"] = tempfile.mkdtemp(prefix="tp", dir="/tmp")
    cluster: Nodes = Cluster()
    port = int(dashboard.rpartition(":")[2])
    head: dict[str, Any] = {"include_dashboard": True, "dashboard_host": "127.0.0.1"}
    add_node(cluster, caches, 2, dashboard_port=port, **head)
    add_node(cluster, caches, 3)
    os.environ["RAY_TMPDIR"] = before
    yield cluster
    ray.shutdown()
    cluster.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def nodes(two_nodes: Nodes) -> Nodes:
    """Two nodes to which this process is connected, so that its commands use them."""
    stay_connected(two_nodes.address, runtime_env=runtime_env())
    return two_nodes


@pytest.fixture
def third(nodes: Nodes, caches: Path) -> Iterator[Any]:
    """A third node, which a test may kill."""
    node = add_node(nodes, caches, 4)
    yield node
    if node in nodes.worker_nodes:
        nodes.remove_node(node)
