"""Serve a model from start to end: in this process, by workers, or on Ray Serve."""

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from serve.rollout import admin, run_dir
from serve.rollout.manager import ModelHost, VersionManager
from serve.rollout.poller import follow, wait_for_model
from serve.rollout.run_dir import RunDir
from serve.rollout.store import ModelStore
from serve.server.sockets import listen, reserve, url
from serve.settings import RayOptions, Settings


@dataclass(frozen=True)
class Endpoint:
    """A model to serve, and the limits on its clients."""

    find: Callable[[], str]
    """Finds the model: its folder, or its URI."""
    followed: Path | None
    """Folder in which a run replaces its model, if the endpoint follows a run."""
    host: str
    settings: Settings
    say: Callable[[str], None]
    """Prints a line for the user."""


def serve_in_process(
    endpoint: Endpoint, run_folder: RunDir, listeners: Sequence[socket.socket]
) -> None:
    """Serve in this process, on one bound socket, until a signal.

    Raises:
        ArtifactError: The model cannot be loaded.
        AddressError: The address has been taken since the socket was bound.
    """
    # Imports NumPy, which a supervisor of workers does without.
    from serve.rollout.loaded_models import LoadedModels

    store, first = ModelStore(run_folder.models), _find_first(endpoint)
    with LoadedModels() as models, _manage(endpoint, run_folder, store, models, first) as manager:
        from serve.workers.http_server import create_server

        def on_start() -> None:
            _listen(endpoint, manager, listeners)

        server = create_server(models, endpoint.host, endpoint.settings, on_start)
        server.run(sockets=list(listeners))


def serve_by_workers(
    endpoint: Endpoint, run_folder: RunDir, listeners: Sequence[socket.socket]
) -> None:
    """Serve by supervised workers, each on one of the bound sockets, until a signal.

    Raises as `serve_in_process`, and WorkerLostError if a worker dies before all serve.
    """
    from serve.workers.supervisor import Supervisor

    command = {"host": endpoint.host, "settings": asdict(endpoint.settings)}
    store, first = ModelStore(run_folder.models), _find_first(endpoint)
    with (
        Supervisor(listeners, command, endpoint.say) as supervisor,
        _manage(endpoint, run_folder, store, supervisor, first) as manager,
    ):
        try:
            supervisor.serve()
            _listen(endpoint, manager, listeners)
            threading.Event().wait()
        finally:
            # SIGTERM has begun the end already; Ctrl-C still hurries it.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            supervisor.stop()


def serve_on_ray(endpoint: Endpoint, port: int, ray_options: RayOptions) -> None:
    """Serve by replicas on Ray Serve, whose proxies take the port, until a signal.

    Raises as `serve_in_process`, and SettingError if Ray cannot be reached, has no room or was
    lost.
    """
    from serve.ray_serve.cluster import connect
    from serve.ray_serve.deployment import Deployment, StopRequested
    from serve.ray_serve.watch import report_losses

    stop = threading.Event()
    reservation = reserve(endpoint.host, port)
    address, port = reservation.getsockname()[:2]
    with (
        reservation,
        run_dir.create(address, port) as run_folder,
        contextlib.suppress(StopRequested),
    ):
        first, store = _find_first(endpoint), ModelStore(run_folder.models)
        with connect(ray_options):
            # Ray has replaced our signal handlers, and would lose what ours raise in its own code.
            for signum in (signal.SIGTERM, signal.SIGINT):
                signal.signal(signum, lambda *_: stop.set())
            with (
                Deployment(
                    store, (endpoint.host, port), endpoint.settings, ray_options, stop
                ) as deployment,
                _manage(endpoint, run_folder, store, deployment, first) as manager,
            ):
                endpoint.say(_ready_line(manager, url(endpoint.host, port)))
                report_losses(deployment, stop, endpoint.say)


def _find_first(endpoint: Endpoint) -> Path | str:
    """Return the first model, for which an endpoint that follows a run waits."""
    if endpoint.followed is None:
        return endpoint.find()
    wait_for_model(endpoint.followed, endpoint.say)
    return endpoint.followed


@contextlib.contextmanager
def _manage(
    endpoint: Endpoint, run_folder: RunDir, store: ModelStore, host: ModelHost, first: Path | str
) -> Iterator[VersionManager]:
    """Load the first version; answer the admin socket, and follow a run, within the block."""
    manager = VersionManager(store, host, first, endpoint.say)
    with contextlib.ExitStack() as stack:
        stack.enter_context(admin.serve_admin(run_folder.socket, manager))
        if endpoint.followed is not None:
            stack.enter_context(follow(endpoint.followed, manager, endpoint.say))
        yield manager


def _listen(
    endpoint: Endpoint, manager: VersionManager, listeners: Sequence[socket.socket]
) -> None:
    urls = [listen(listener, endpoint.host) for listener in listeners]
    endpoint.say(_ready_line(manager, urls[0]))


def _ready_line(manager: VersionManager, address: str) -> str:
    return f"serving {manager.current.description} on {address} - ctrl-c stops"
