"""Ray, on which an endpoint is served: connect to it, check it, and notice its loss."""

import logging
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from serve.models.manifest import ArtifactError
from serve.settings import RayOptions, SettingError

CPUS_PER_REPLICA = 1.0
"""A network runs on one thread."""
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_SERVE_LOG_TO_STDERR": "0"}
PACKAGE = Path(__file__).parents[1]
CONNECT_SECONDS = 10
ANSWER_SECONDS = 30.0
"""How long Ray may take to answer: it ends this process after a minute without its head."""
RETRY_SECONDS = 0.5


class RayLostError(SettingError):
    """The Ray that served is gone, with everything that ran on it."""


@contextmanager
def connect(ray_options: RayOptions) -> Iterator[None]:
    """Connect to Ray for the block: to a cluster, or to a Ray started on this machine.

    Raises SettingError if Ray cannot be reached, serves already, or has too few CPUs.
    """
    os.environ.update({key: value for key, value in QUIET.items() if key not in os.environ})
    import ray
    from ray import serve as ray_serve

    # Importing Ray Serve sets the level, so lower it only now.
    logging.getLogger(ray_serve.__name__).setLevel(logging.ERROR)
    try:
        _initialize(ray_options.address)
        check_unused(ray_serve.status())
        check_cpus(ray_options, [node["Resources"].get("CPU", 0.0) for node in list_nodes()])
        # At any log level, Ray prints lines about its own processes.
        with Path(os.devnull).open("w") as devnull, redirect_stdout(devnull):
            yield
    finally:
        ray.shutdown()


def _initialize(address: str | None) -> None:
    import ray

    # Without `local`, Ray joins one that already runs on this machine.
    options: dict[str, Any] = {"address": "local", "include_dashboard": False}
    what = "--ray: Ray did not start"
    if address is not None:
        what = f"--address: no Ray at {address}"
        _check_port(address)
        # Every node needs this code, and one thread a replica.
        variables = {"OPENBLAS_NUM_THREADS": "1", **QUIET}
        environment = {"py_modules": [str(PACKAGE)], "env_vars": variables}
        options = {"address": address, "runtime_env": environment}
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except Exception as error:  # Ray's exceptions here have no other common base.
        raise SettingError(f"{what}: {' '.join(str(error).split())}") from error


def check_unused(status: Any) -> None:
    """Raise SettingError if a cluster of this status of Ray Serve has a server already."""
    if status.applications or status.proxies:
        names = ", ".join(status.applications) or "by a Ray Serve of its own"
        raise SettingError(
            f"--address: this cluster serves {names} already, and has one server; wait until that "
            "has ended, or serve on another cluster or without --address on this machine"
        )


def _check_port(address: str) -> None:
    """Raise SettingError if nothing listens at an address, for which Ray would wait minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or "://" in address:
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise SettingError(f"--address: no Ray at {address}: {error}") from error


def list_nodes() -> list[dict[str, Any]]:
    """List the nodes that are alive, as Ray describes them."""
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def check_cpus(ray_options: RayOptions, nodes: Sequence[float]) -> None:
    """Raise SettingError unless nodes with these CPUs have room for the replicas."""
    capacity = sum(int(cpus / CPUS_PER_REPLICA) for cpus in nodes)
    minimum, maximum = ray_options.min_replicas, ray_options.max_replicas
    if maximum > capacity:
        flag = "--workers" if maximum == minimum else "--max-workers"
        where = "this machine has" if len(nodes) == 1 else "the cluster's nodes have"
        raise SettingError(
            f"{flag}: {maximum} replicas need a CPU each, {where} {sum(nodes):g} and room for "
            f"{capacity}; ask for at most {capacity}"
        )


def check_on_nodes(config: Mapping[str, str]) -> None:
    """Load the model of a `user_config` in a process on each node that has room for replicas.

    Raises ArtifactError if it cannot be loaded on one.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node for node in list_nodes() if node["Resources"].get("CPU", 0.0) >= CPUS_PER_REPLICA]
    check = ray.remote(num_cpus=0, max_retries=0)(_find_fault)
    faults = []
    for node in nodes:
        here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        faults.append(check.options(scheduling_strategy=here).remote(dict(config)))
    for node, fault in zip(nodes, faults, strict=True):
        try:
            reason = ray.get(fault)
        except ray.exceptions.RayError as error:
            last = str(error).strip().splitlines()[-1].strip()
            reason = f"{config['model']}: the process that loads it ended: {last}"
        if reason is not None and len(nodes) > 1:
            reason += (
                f", on node {node['NodeManagerAddress']}; on several nodes a model is a URI, or a "
                "folder that all of them have"
            )
        if reason is not None:
            raise ArtifactError(reason)


def call_ray(question: Callable[[], Any]) -> Any:
    """Ask Ray in a thread, for a call may never return once Ray is lost.

    Raises RayLostError if there is no answer within `ANSWER_SECONDS`.
    """
    answer: Future[Any] = Future()
    threading.Thread(target=_ask, args=(question, answer), daemon=True).start()
    try:
        return answer.result(ANSWER_SECONDS)
    except TimeoutError as error:
        raise RayLostError("--ray: the Ray that served is lost; start again") from error


def _ask(question: Callable[[], Any], answer: Future[Any]) -> None:
    from ray.exceptions import RayError
    from ray.serve.exceptions import RayServeException

    deadline = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < deadline:
        try:
            answer.set_result(question())
            return
        except (RayError, RayServeException):  # Ray restarts a controller that is lost.
            time.sleep(RETRY_SECONDS)


def _find_fault(config: Mapping[str, str]) -> str | None:
    """Return why a model cannot be loaded on this node; None if it can."""
    from serve.ray_serve.replica import load_model
    from serve.rollout.loaded_models import LoadedModels
    from serve.rollout.store import ModelStore

    with tempfile.TemporaryDirectory(prefix="tuneport-check-") as folder, LoadedModels() as models:
        try:
            load_model(ModelStore(Path(folder)), models, config)
        except (ArtifactError, OSError) as error:
            return str(error)
    return None
