"""Ray looked after while a run goes on: where it is lost, nothing that calls it comes back."""

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
WATCH_S = 0.5
ANSWER_S = 5.0
"""How long a process may take to answer; one of the same network takes a thousandth of it."""
HEAD_S = 30.0
"""How long a cluster's head may not answer: it may be starting again, and Ray gives it a minute."""


@dataclass(frozen=True)
class Process:
    """One of Ray's processes, to be asked whether it is there."""

    is_there: Callable[[], bool]
    patience_s: float = 0.0
    """How long it may be away."""


@contextmanager
def watched(cluster: Cluster, lost: Callable[[str], None]) -> Iterator[None]:
    """Meanwhile tell `lost`, from another thread, which process of Ray's ended.

    Tune would wait for ever without its raylet, and for a minute without the GCS server.
    """
    with watching(_started_here() if cluster.is_local else _joined(), lost):
        yield


@contextmanager
def watching(core: Mapping[str, Process], lost: Callable[[str], None]) -> Iterator[None]:
    """Meanwhile tell `lost`, from another thread, which of the processes was away too long."""
    over = threading.Event()
    away: dict[str, float] = {}

    def look() -> None:
        while not over.wait(WATCH_S):
            for kind, process in core.items():
                if process.is_there():
                    away.pop(kind, None)
                elif time.monotonic() - away.setdefault(kind, time.monotonic()) >= (
                    process.patience_s
                ):
                    lost(kind)
                    return

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _started_here() -> Mapping[str, Process]:
    from ray._private import worker

    node: Any = worker._global_node  # there is no public way to its processes
    core = {kind: info.process for kind in CORE for info in node.all_processes[kind]}
    return {kind: Process(partial(_is_running, process)) for kind, process in core.items()}


def _is_running(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is None


def _joined() -> Mapping[str, Process]:
    """The cluster's GCS server, and the raylet of this machine."""
    import ray

    context = ray.get_runtime_context()
    host, _, port = context.gcs_address.rpartition(":")
    (mine,) = (node for node in ray.nodes() if node["NodeID"] == context.get_node_id())
    raylet = mine["NodeManagerAddress"], mine["NodeManagerPort"]
    return {
        "gcs_server": Process(partial(answers, host, int(port)), HEAD_S),
        "raylet": Process(partial(answers, *raylet)),
    }


def answers(host: str, port: int) -> bool:
    """Whether something takes connections there."""
    try:
        socket.create_connection((host, port), timeout=ANSWER_S).close()
    except OSError:
        return False
    return True
