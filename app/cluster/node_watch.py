"""Nodes that join or leave a cluster while a run goes on.

One that joins is asked whether it uses the same storage of runs, and is kept from trials where it
does not; one that is lost is named, though no trial was on it.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from app.cluster.failures import node_name
from app.run.store import StoreError
from trainables.script.placement_group import run_on_node

POLL_S = 2.0

NodeTable = Iterable[Mapping[str, Any]]
"""Nodes as `ray.nodes()` gives them."""


class NodeWatch:
    """Looks at a cluster's nodes now and then, without holding up its caller."""

    def __init__(
        self,
        check: Callable[[Mapping[str, str]], None],
        say: Callable[[str], None],
        on_lost: Callable[[str], None],
        exclude: "Callable[[Mapping[str, Any]], None] | None" = None,
    ) -> None:
        """Watch the nodes of the cluster to which this process is connected.

        Args:
            check: Raises StoreError where nodes, addresses by ID, cannot use the storage of runs.
            say: Shows a line.
            on_lost: Called with the name of each node that is lost.
            exclude: Keeps trials off a node; by default with a task that takes all of it.
        """
        self._check = check
        self._say = say
        self._on_lost = on_lost
        self._exclude = exclude or take_all
        self._nodes: dict[str, Mapping[str, Any]] | None = None
        """The nodes that were alive at the last look, by ID."""
        self._checks: dict[str, Future[None]] = {}
        self._problems: list[str] = []
        self._looked_at = -POLL_S
        self._thread = ThreadPoolExecutor(1)

    def poll(self) -> None:
        """Look at the nodes, if it is time."""
        if time.monotonic() >= self._looked_at + POLL_S:
            import ray

            self._looked_at = time.monotonic()
            self.look(ray.nodes())

    def look(self, nodes: NodeTable) -> None:
        """Compare the nodes with those before."""
        alive = {str(node["NodeID"]): node for node in nodes if node["Alive"]}
        before = alive if self._nodes is None else self._nodes
        self._nodes = alive
        for node_id in before.keys() - alive.keys():
            self._checks.pop(node_id, None)
            self._on_lost(node_name(dict(before[node_id])))
        for node_id in alive.keys() - before.keys():
            asked = {node_id: str(alive[node_id]["NodeManagerAddress"])}
            self._checks[node_id] = self._thread.submit(self._check, asked)
        for node_id in [name for name, check in self._checks.items() if check.done()]:
            self._take_answer(alive[node_id], self._checks.pop(node_id))

    def finish(self) -> None:
        """Name, once more at the end, the nodes that no trial could use."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        for problem in self._problems:
            self._say(problem)

    def _take_answer(self, node: Mapping[str, Any], check: "Future[None]") -> None:
        try:
            check.result()
        except StoreError as error:
            name = node_name(dict(node))
            self._problems.append(f"node {name} joined and is kept from trials: {error}")
            self._say(self._problems[-1])
            self._exclude(node)


def take_all(node: Mapping[str, Any]) -> None:
    """Take all CPUs and GPUs of a node, until this process leaves the cluster."""
    has = node["Resources"]
    run_on_node(
        str(node["NodeID"]), wait_for_ever, cpus=has.get("CPU", 0.0), gpus=has.get("GPU", 0.0)
    )


def wait_for_ever() -> None:
    """Wait until Ray ends this process."""
    while True:
        time.sleep(3600)
