"""Connect to Ray: start it on this machine, or join a cluster by its address."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from serve.settings import RayOptions, SettingError

CPUS_PER_REPLICA = 1.0
"""A network runs on one thread."""
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_SERVE_LOG_TO_STDERR": "0"}
CONTROLLER = ("SERVE_CONTROLLER_ACTOR", "serve")
"""Name and namespace of Ray Serve's controller."""
PACKAGE = Path(__file__).parents[1]
CONNECT_SECONDS = 10


@contextmanager
def connect(ray_options: RayOptions) -> Iterator[None]:
    """Connect to Ray for the block: to a cluster, or to a Ray started on this machine.

    Args:
        ray_options: Address of the cluster, if there is one, and the number of replicas.

    Raises:
        SettingError: Ray cannot be reached, runs Ray Serve already, or has too few CPUs.
    """
    os.environ.update({key: value for key, value in QUIET.items() if key not in os.environ})
    import ray
    from ray import serve as ray_serve

    # Importing Ray Serve sets the level, so lower it only now.
    logging.getLogger(ray_serve.__name__).setLevel(logging.ERROR)
    try:
        if ray_options.address is None:
            _start()
        else:
            _join(ray_options.address)
        _check_cpus(ray_options)
        # At any log level, Ray prints lines about its own processes.
        with Path(os.devnull).open("w") as devnull, redirect_stdout(devnull):
            yield
    finally:
        ray.shutdown()


def _start() -> None:
    import ray

    try:
        ray.init(
            address="local",  # Without it, Ray joins one that already runs on this machine.
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except Exception as error:  # Ray's exceptions here have no other common base.
        raise SettingError(f"--ray: Ray did not start: {' '.join(str(error).split())}") from error


def _join(address: str) -> None:
    import ray

    _check_port(address)
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            # Every node needs this code, and one thread a replica.
            runtime_env={
                "py_modules": [str(PACKAGE)],
                "env_vars": {"OPENBLAS_NUM_THREADS": "1", **QUIET},
            },
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise SettingError(f"--address: no Ray at {address}: {reason}") from error
    try:
        ray.get_actor(*CONTROLLER)
    except ValueError:
        return
    raise SettingError(
        f"--address: Ray Serve runs at {address} already, with a server of its own; end it by "
        "`serve shutdown` there"
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


def _check_cpus(ray_options: RayOptions) -> None:
    import ray

    nodes = [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]
    capacity = sum(int(cpus / CPUS_PER_REPLICA) for cpus in nodes)
    minimum, maximum = ray_options.min_replicas, ray_options.max_replicas
    if maximum > capacity:
        flag = "--workers" if maximum == minimum else "--max-workers"
        where = "this machine has" if len(nodes) == 1 else "the cluster's nodes have"
        raise SettingError(
            f"{flag}: {maximum} replicas need a CPU each, {where} {sum(nodes):g} and room for "
            f"{capacity}; ask for at most {capacity}"
        )
