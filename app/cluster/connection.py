"""Connection to Ray: start it on this machine, or join a cluster and send our code there."""

import faulthandler
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from app.cluster import head_probe, home_directory
from app.cluster.signals import handlers_restored
from app.experiment.errors import ExperimentError

DASHBOARD = "TUNEPORT_DASHBOARD"
"""Variable that, set to `off`, starts Ray without its dashboard."""
ADDRESS = "RAY_ADDRESS"
"""Variable with the cluster to join, which `ray job submit` sets for the program that it runs."""
JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Variable in which a job's program finds the runtime environment of the job."""
START_S = 180.0
"""How long Ray may take to start or to be joined, which takes a few seconds."""
TIMED_OUT = "timed out during startup"
"""Ray's words where its raylet took more than 30 s, which no setting changes: a busy machine."""
CODE = ("app", "serve", "trainables")
"""The packages that a trial's process imports."""
NOT_CODE = ["*.gz", "__pycache__"]
"""Files of them that are not sent: data reaches trials through Ray's object store."""

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    # Our journal and progress take the place of Tune's loggers, tables and snapshots.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    # What the nodes say of lost processes and nodes: the callback says it, in a line.
    "RAY_DEDUP_LOGS_SKIP_REGEX": "^",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    # An interrupt is ours to handle.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # A node may be lost just while a trial goes on there from its checkpoint.
    "TUNE_RESTORE_RETRY_NUM": "1",
    # Ray turns this into an error in a later version; it hides GPUs from trials that have none.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
}

OPEN = (
    "warning: this cluster asks for no token, so whoever reaches its ports can run code as you;"
    " start its nodes with RAY_AUTH_MODE=token (docs/cluster.md, Ports)"
)
"""Said where a cluster was joined without being asked for a token."""


class ClusterError(Exception):
    """A Ray that cannot be started, in one sentence."""


@dataclass(frozen=True)
class Node:
    """The resources of one node."""

    cpus: float
    gpus: float

    def capacity(self, cpus: float, gpus: float) -> int:
        """Return how many workers of that many CPUs and GPUs fit."""
        fits = int(self.cpus / cpus + 1e-9)
        return min(fits, int(self.gpus / gpus + 1e-9)) if gpus else fits


@dataclass(frozen=True)
class Cluster:
    """The nodes that Ray has."""

    nodes: tuple[Node, ...]
    dashboard: str | None
    """Address of the dashboard."""
    is_local: bool
    """Whether it was started for this run alone, and ends with it."""
    is_open: bool = False
    """Whether it was joined without being asked for a token."""

    @property
    def cpus(self) -> float:
        """CPUs of all nodes."""
        return sum(node.cpus for node in self.nodes)

    @property
    def gpus(self) -> float:
        """GPUs of all nodes."""
        return sum(node.gpus for node in self.nodes)


@contextmanager
def connect(address: str | None = None, *, run: str = "") -> Iterator[Cluster]:
    """Join a cluster or start Ray on this machine; leave it, or end it, at the end of the block.

    A Ray to which this process is connected already is used as it is, and stays.

    Args:
        address: The cluster's; None for that in `RAY_ADDRESS`, or to start Ray if there is none.
        run: Name of the run, for the job in Ray's dashboard.

    Raises:
        ExperimentError: No Ray answers at the address, or this process is connected to another.
        ClusterError: Ray cannot be started.
    """
    quiet_ray()
    import ray

    flag = ADDRESS if address is None else "--address"
    address = find_address(address)
    if ray.is_initialized():
        yield _connected(address, flag)
        return
    head = None if address is None else head_probe.probe(address, flag)
    # In another thread Ray leaves the handler of SIGTERM alone; its own exits in silence. The
    # thread stays, because Linux ends the processes that Ray starts together with it.
    with ThreadPoolExecutor(1) as starter:
        try:
            with handlers_restored(), _time_limit():
                start = (
                    partial(_start_here, run)
                    if address is None
                    else partial(_join, address, flag, run)
                )
                context = starter.submit(start).result()
            yield Cluster(
                _nodes(),
                context.dashboard_url or None,
                is_local=head is None,
                is_open=head is not None and not head.asks_token,
            )
        finally:
            ray.shutdown()


def quiet_ray() -> None:
    """Set Ray's variables for this process; some are read while Ray is imported."""
    os.environ.update({key: value for key, value in QUIET.items() if key not in os.environ})
    # It warns of the thread in which it is started.
    logging.getLogger("ray").setLevel(logging.ERROR)


def find_address(typed: str | None) -> str | None:
    """Return the address of the cluster to join, typed or in `RAY_ADDRESS`; None to start Ray.

    Raises ExperimentError for an empty one that was typed.
    """
    if typed is not None and not typed.strip():
        raise ExperimentError("--address: it is empty; give auto or host:port, or leave it out")
    return typed or os.environ.get(ADDRESS) or None


def connecting(address: str | None) -> str:
    """Say what `connect` will do, as it takes seconds; empty where this process is connected."""
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        return ""
    address = find_address(address)
    return f"joining Ray at {address}" if address else "starting Ray on this machine"


def _connected(address: str | None, flag: str) -> Cluster:
    """Return the cluster to which this process is connected."""
    import ray

    here = ray.get_runtime_context().gcs_address
    if address not in (None, "auto", here):
        raise ExperimentError(f"{flag}: this process is connected to Ray at {here} already")
    context = ray.init(ignore_reinit_error=True, logging_level=logging.ERROR)
    return Cluster(_nodes(), context.dashboard_url or None, is_local=False)


def refresh(cluster: Cluster) -> Cluster:
    """Return the cluster with the nodes that it has now."""
    return replace(cluster, nodes=_nodes())


def _nodes() -> tuple[Node, ...]:
    import ray

    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return tuple(Node(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in alive)


def request_nodes(nodes: Sequence[Node]) -> None:
    """Ask the cluster's autoscaler for room for these, in place of what was asked before."""
    from ray.autoscaler.sdk import request_resources

    request_resources(bundles=[{"CPU": node.cpus, "GPU": node.gpus} for node in nodes])


def _start_here(run: str) -> Any:
    """Start Ray on this machine, a second time where its first start took too long."""
    home_directory.ensure_token()
    try:
        try:
            return _init_local(run)
        except Exception as error:
            if TIMED_OUT not in str(error):
                raise
            return _init_local(run)
    except Exception as error:  # what Ray raises here shares no class but this
        raise ClusterError(f"Ray did not start: {' '.join(str(error).split())}") from error


def _init_local(run: str) -> Any:
    import ray

    return ray.init(
        address="local",  # Without it, Ray joins whatever runs on this machine already.
        include_dashboard=os.environ.get(DASHBOARD) != "off",
        dashboard_host="127.0.0.1",
        job_config=_job(run),
        log_to_driver=False,
        logging_level=logging.ERROR,
    )


def _job(run: str) -> Any:
    """Describe our job for Ray's dashboard."""
    from ray.job_config import JobConfig

    return JobConfig(metadata={"run": run} if run else {})


@contextmanager
def _time_limit() -> Iterator[None]:
    """End this process, with its stack on stderr, if Ray takes so long that it will never answer.

    Ray waits in C and holds the interpreter's lock, so that no signal or thread can end it.
    """
    import ray  # noqa: F401  # before the timer: the stack of an import cannot always be written

    faulthandler.dump_traceback_later(START_S, exit=True, file=2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def _join(address: str, flag: str, run: str) -> Any:
    """Join a cluster, and send our code: to nodes that come later, too."""
    import ray

    home_directory.restrict_token()
    try:
        return ray.init(
            address=address,
            job_config=_job(run),
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env=runtime_env(),
        )
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        reason = " ".join(str(error).split())
        raise ExperimentError(f"{flag}: cannot join Ray at {address}: {reason}") from error


def runtime_env() -> dict[str, Any]:
    """Return Ray's runtime environment for trials elsewhere, without what a job has already."""
    job = json.loads(os.environ.get(JOB, "{}")).get("runtime_env") or {}
    known = job.get("env_vars", {})
    env: dict[str, Any] = {
        "env_vars": {key: value for key, value in QUIET.items() if key not in known}
    }
    if "py_modules" not in job:
        folder = Path(__file__).parents[2]
        env["py_modules"] = [str(folder / name) for name in CODE]
        env.update({} if "excludes" in job else {"excludes": NOT_CODE})
    return env


def dashboard_entry(cluster: Cluster) -> dict[str, str | None] | None:
    """Return the dashboard's `address` and its `token` file, where there are any."""
    if cluster.dashboard is None:
        return None
    token = token_path()
    return {"address": cluster.dashboard, "token": None if token is None else str(token)}


def token_path() -> Path | None:
    """Return the file of the token that Ray's dashboard asks for; None if it asks for none."""
    path = Path(os.environ.get(home_directory.TOKEN_PATH) or Path.home() / home_directory.TOKEN)
    return path if path.is_file() else None
