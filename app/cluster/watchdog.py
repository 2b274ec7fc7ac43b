"""A watchdog for Ray's processes: calls into a Ray that has lost one of them never return."""

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from app.cluster.connection import Cluster

CORE = ("gcs_server", "raylet")
"""The processes without which Ray does nothing."""
POLL_S = 0.5
ANSWER_S = 5.0
"""How long a process may take to answer; one of the same network takes a thousandth of it."""
HEAD_S = 30.0
"""How long a cluster's head may not answer: it may be restarting, and Ray gives it a minute."""


@dataclass(frozen=True)
class Process:
    """One of Ray's processes."""

    is_alive: Callable[[], bool]
    grace_s: float = 0.0
    """How long it may be away."""


@contextmanager
def ray_watched(cluster: Cluster, on_lost: Callable[[str], None]) -> Iterator[None]:
    """Watch the processes of a cluster during the block.

    Tune would wait for ever without its raylet, and for a minute without the GCS server.

    Args:
        cluster: The cluster.
        on_lost: Called once, in another thread, with the name of a process that has ended.
    """
    with watched(_local_processes() if cluster.is_local else _joined_processes(), on_lost):
        yield


@contextmanager
def watched(processes: Mapping[str, Process], on_lost: Callable[[str], None]) -> Iterator[None]:
    """Watch processes, by name, during the block; call `on_lost` if one is away too long."""
    is_over = threading.Event()
    away_since: dict[str, float] = {}

    def poll() -> None:
        while not is_over.wait(POLL_S):
            for name, process in processes.items():
                if process.is_alive():
                    away_since.pop(name, None)
                    continue
                since = away_since.setdefault(name, time.monotonic())
                if time.monotonic() - since >= process.grace_s:
                    on_lost(name)
                    return

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _local_processes() -> Mapping[str, Process]:
    from ray._private import worker

    node: Any = worker._global_node  # there is no public way to its processes
    found = {name: info.process for name in CORE for info in node.all_processes[name]}
    return {name: Process(partial(_is_running, process)) for name, process in found.items()}


def _is_running(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is None


def _joined_processes() -> Mapping[str, Process]:
    """The cluster's GCS server, and the raylet of this machine."""
    import ray

    context = ray.get_runtime_context()
    host, _, port = context.gcs_address.rpartition(":")
    (mine,) = (node for node in ray.nodes() if node["NodeID"] == context.get_node_id())
    raylet = mine["NodeManagerAddress"], mine["NodeManagerPort"]
    return {
        "gcs_server": Process(partial(accepts_connections, host, int(port)), HEAD_S),
        "raylet": Process(partial(accepts_connections, *raylet)),
    }


def accepts_connections(host: str, port: int) -> bool:
    """Whether a process accepts connections at an address."""
    try:
        socket.create_connection((host, port), timeout=ANSWER_S).close()
    except OSError:
        return False
    return True
