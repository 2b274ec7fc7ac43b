"""Endpoints that this process started on this machine, by name."""

from collections.abc import Mapping
from pathlib import Path

from app.api import CommandError, Endpoint, EndpointError, StoreError

_running: dict[str, Endpoint] = {}


def start(
    model: Path, name: str, environment: Mapping[str, str] | None = None, workers: int = 1
) -> None:
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
    try:
        _running[name] = Endpoint.start(model, port=0, environment=environment, workers=workers)
    except CommandError as error:
        raise EndpointError(f"{name}: {error}") from error


def find(name: str) -> Endpoint:
    """Find the endpoint of that name; raises EndpointError if none is running."""
    if name not in _running:
        running = ", ".join(_running) or "none"
        raise EndpointError(f"{name}: this process serves no such endpoint; it serves {running}")
    return _running[name]


def stop(name: str) -> None:
    """Stop an endpoint after its open requests; do nothing if it has ended."""
    if name in _running:
        _running.pop(name).stop()
