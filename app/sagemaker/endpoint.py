"""Endpoints that this process started on this machine, by name."""

import atexit
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from app.run.store import StoreError

READY_S = 240.0
"""Longest start of an endpoint; SageMaker allows as much."""
STOP_S = 30.0


class EndpointError(Exception):
    """An endpoint that does not start, or that answers with an error, in one sentence."""


@dataclass(frozen=True)
class Endpoint:
    """A model folder served by a process that ends with this one."""

    name: str
    address: str
    process: "subprocess.Popen[bytes]"


_running: dict[str, Endpoint] = {}


def start(
    model: Path, name: str, environment: Mapping[str, str] | None = None, workers: int = 1
) -> Endpoint:
    """Serve a model folder on a free port, and return once it answers.

    Args:
        model: the model folder.
        name: the endpoint's name in this process.
        environment: variables of the server beside this process's.
        workers: processes that answer.

    Raises:
        StoreError: there is no folder.
        EndpointError: it does not start, or another endpoint of that name is running.
    """
    if not model.is_dir():
        raise StoreError(f"{name}: there is no model at {model}")
    if name in _running:
        raise EndpointError(f"{name}: is running; delete it first, or give another endpoint_name")
    port = _free_port()
    command = [sys.executable, "-m", "serve", str(model), "--port", str(port)]
    if workers > 1:
        command += ["--workers", str(workers)]
    path = os.pathsep.join(filter(None, sys.path))
    process = subprocess.Popen(
        command, env={**os.environ, **(environment or {}), "PYTHONPATH": path}
    )
    endpoint = Endpoint(name, f"http://127.0.0.1:{port}", process)
    try:
        _wait_until_ready(endpoint)
    except BaseException:
        process.kill()
        process.wait()
        raise
    _running[name] = endpoint
    atexit.register(stop, name)
    return endpoint


def find(name: str) -> Endpoint:
    """Find the endpoint of that name; raises EndpointError if none is running."""
    if name not in _running:
        running = ", ".join(_running) or "none"
        raise EndpointError(f"{name}: this process serves no such endpoint; it serves {running}")
    return _running[name]


def stop(name: str) -> None:
    """Stop an endpoint after its open requests; do nothing if it has ended."""
    endpoint = _running.pop(name, None)
    if endpoint is None:
        return
    endpoint.process.terminate()
    try:
        endpoint.process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        endpoint.process.kill()
        endpoint.process.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait_until_ready(endpoint: Endpoint) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        status = endpoint.process.poll()
        if status is not None:
            raise EndpointError(f"{endpoint.name}: the endpoint ended with status {status}")
        try:
            with urllib.request.urlopen(f"{endpoint.address}/ping", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise EndpointError(f"{endpoint.name}: the endpoint was not ready in {READY_S:g} s")
