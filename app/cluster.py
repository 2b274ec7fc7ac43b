"""Ray: start it on this machine or join a cluster, and share its resources among trials."""

import faulthandler
import logging
import math
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from app.experiment import Experiment, ExperimentError

DASHBOARD = "TUNEPORT_DASHBOARD"
"""Set to `off` in the environment, Ray starts without its dashboard."""

LEAST_CPUS = 0.01
"""The share of a trial where more are to run at once than the machine can hold."""
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


class Interrupted(BaseException):
    """The user's Ctrl-C or somebody's SIGTERM; no `except Exception` on the way stops it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.status = 128 + signum


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


@dataclass(frozen=True)
class Resources:
    """What each worker of a trial gets, how many trials run at once, of how many workers."""

    cpus: float
    gpus: float
    at_once: int
    workers: int = 1

    @property
    def threads(self) -> int:
        """Threads that a worker computes with."""
        return max(1, int(self.cpus))


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


def resources(experiment: Experiment, cluster: Cluster) -> Resources:
    """What each worker of a trial gets of the cluster.

    Raises ExperimentError where the cluster has no room for one trial.
    """
    trials = min(experiment.max_concurrent, experiment.num_samples)
    workers = experiment.workers_per_trial
    cpus, gpus = experiment.cpus_per_trial, experiment.gpus_per_trial
    if cpus is None:
        shared = _share_of([node.cpus for node in cluster.nodes], trials * workers)
        cpus = max(LEAST_CPUS, shared)
    if gpus is None:
        gpus = _gpus(cluster, trials, workers)
    _check("cpus", cpus, [node.cpus for node in cluster.nodes])
    _check("gpus", gpus, [node.gpus for node in cluster.nodes])
    room = sum(node.room(cpus, gpus) for node in cluster.nodes)
    if room < workers:
        raise ExperimentError(_too_many(workers, Node(cpus, gpus), cluster, room))
    return Resources(cpus, gpus, min(trials, room // workers), workers)


def _share_of(nodes: Sequence[float], count: int) -> float:
    """The greatest share, at most one, in hundredths, of which the nodes have `count`."""
    sizes = Counter(nodes)
    shares = {
        math.floor(size / parts * 100) / 100 for size in sizes for parts in range(1, count + 1)
    }
    for share in sorted({min(1.0, share) for share in shares if share > 0}, reverse=True):
        if sum(int(size / share + 1e-9) * many for size, many in sizes.items()) >= count:
            return share
    return 0.0


def _gpus(cluster: Cluster, trials: int, workers: int) -> float:
    """An equal share; of several workers each has a whole GPU, as NCCL needs it, or all none."""
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


def _too_many(workers: int, each: Node, cluster: Cluster, room: int) -> str:
    where = "this machine has" if len(cluster.nodes) == 1 else "the cluster's nodes have"
    return (
        f"workers_per_trial: a trial asks for {workers} workers of {amount(each)}, {where}"
        f" {amount(cluster)} and room for {room}; ask for at most {room}, or for less of each"
    )


def amount(has: Node | Cluster | Resources) -> str:
    """CPUs and GPUs in words."""
    return f"{has.cpus:g} CPU" + (f" and {has.gpus:g} GPU" if has.gpus else "")


def token_path() -> Path | None:
    """Where the token is that Ray's dashboard asks for; None where it asks for none."""
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()
    return path if path.is_file() else None


class Interrupts:
    """SIGINT and SIGTERM while a run goes on: raised as Interrupted, at once or when asked.

    An exception that rises within Ray's own C code is lost there, so where Ray is called the
    signal is only noted, and `check` raises it.
    """

    def __init__(self) -> None:
        self._noted: int | None = None
        self._raised = False
        self._deferred = False

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle both signals; afterwards their handlers are those from before."""
        with signals_kept():
            if threading.current_thread() is threading.main_thread():
                for signum in (signal.SIGINT, signal.SIGTERM):
                    signal.signal(signum, self._handle)
            yield

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Only note a signal; it is raised at the next check, at the latest at the end."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        self.check()

    def check(self) -> None:
        """Raise Interrupted, once, where a signal came."""
        if self._noted is not None and not self._raised:
            self._raised = True
            raise Interrupted(self._noted)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        # Only the first counts: a second one must not cut short what it set off.
        if self._noted is None:
            self._noted = signum
        if not self._deferred:
            self.check()


@contextmanager
def signals_kept() -> Iterator[None]:
    """Put the handlers of signals back that Ray replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {
        each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    }
    try:
        yield
    finally:
        for signum, handler in kept.items():
            signal.signal(signum, handler)
