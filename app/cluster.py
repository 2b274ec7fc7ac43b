"""Ray: start it on this machine or join a cluster, and look after it meanwhile."""

import faulthandler
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.experiment import ExperimentError
from app.interrupts import signals_kept

DASHBOARD = "TUNEPORT_DASHBOARD"
"""Set to `off` in the environment, Ray starts without its dashboard."""

CORE = ("gcs_server", "raylet")
"""The processes without which Ray does nothing."""
WATCH_S = 0.5
START_S = 180.0
"""How long Ray may take to start or to be joined; it takes a few seconds."""

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    # Our journal and progress take the place of Tune's loggers, tables and snapshots.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    # An interrupt is ours to handle.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Ray turns this into an error in a later version; it hides GPUs from trials that have none.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
}


class ClusterError(Exception):
    """A Ray that cannot be started, in one sentence."""


@dataclass(frozen=True)
class Node:
    """What Ray has on one machine."""

    cpus: float
    gpus: float

    def room(self, cpus: float, gpus: float) -> int:
        """How many workers of that many CPUs and GPUs fit."""
        fits = int(self.cpus / cpus + 1e-9)
        return min(fits, int(self.gpus / gpus + 1e-9)) if gpus else fits


@dataclass(frozen=True)
class Cluster:
    """What Ray has."""

    nodes: tuple[Node, ...]
    dashboard: str | None
    """Address of the dashboard."""
    is_local: bool
    """Whether it was started here, and ends here."""

    @property
    def cpus(self) -> float:
        """CPUs of all nodes."""
        return sum(node.cpus for node in self.nodes)

    @property
    def gpus(self) -> float:
        """GPUs of all nodes."""
        return sum(node.gpus for node in self.nodes)


def start(address: str | None = None) -> Cluster:
    """Start Ray on this machine, or join the cluster at `address`.

    Raises ExperimentError where nothing answers there, ClusterError where none can be started.
    """
    os.environ.update({key: value for key, value in QUIET.items() if key not in os.environ})
    import ray

    # Ray's handler for SIGTERM replaces ours, and would leave at once.
    with signals_kept(), _answered():
        context = _begin() if address is None else _join(address)
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return Cluster(
        nodes=tuple(Node(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in alive),
        dashboard=context.dashboard_url or None,
        is_local=address is None,
    )


def _begin() -> Any:
    import ray

    try:
        return ray.init(
            address="local",  # Without it, Ray joins whatever runs on this machine already.
            include_dashboard=os.environ.get(DASHBOARD) != "off",
            dashboard_host="127.0.0.1",
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except Exception as error:  # what Ray raises here shares no class but this
        raise ClusterError(f"Ray did not start: {' '.join(str(error).split())}") from error


@contextmanager
def _answered() -> Iterator[None]:
    """End this process, and say where it was, where Ray takes so long that it will never answer.

    Ray waits in C and holds the interpreter's lock: neither a signal nor a thread is heard there.
    """
    faulthandler.dump_traceback_later(START_S, exit=True, file=2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def _join(address: str) -> Any:
    import ray

    _check_answers(address)
    try:
        return ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ExperimentError(f"--address: no Ray at {address}: {reason}") from error


def _check_answers(address: str) -> None:
    """Ray itself waits for minutes where nothing listens."""
    host, colon, port = address.rpartition(":")
    if not colon or "://" in address:
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise ExperimentError(f"--address: no Ray at {address}: {error}") from error


def stop() -> None:
    """Leave Ray; what was started here ends."""
    import ray

    ray.shutdown()


@contextmanager
def watched(cluster: Cluster, lost: Callable[[str], None]) -> Iterator[None]:
    """Meanwhile tell `lost`, from another thread, which process ended of the Ray started here.

    Tune would wait for ever without its raylet, and for a minute without its GCS server.
    """
    if not cluster.is_local:
        yield
        return
    from ray._private import worker

    node: Any = worker._global_node  # there is no public way to its processes
    core = {kind: info.process for kind in CORE for info in node.all_processes[kind]}
    over = threading.Event()

    def look() -> None:
        while not over.wait(WATCH_S):
            for kind, process in core.items():
                if process.poll() is not None:
                    lost(kind)
                    return

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def token_path() -> Path | None:
    """Where the token is that Ray's dashboard asks for; None where it asks for none."""
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()
    return path if path.is_file() else None
