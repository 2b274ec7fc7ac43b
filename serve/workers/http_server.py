"""The HTTP server of one process: the application of its models behind the transport."""

import asyncio
from collections.abc import Callable

from serve.http.access import AccessPolicy
from serve.http.app import create_app
from serve.http.metrics import Metrics
from serve.rollout.loaded_models import LoadedModels
from serve.server.server import Server
from serve.settings import Settings


def create_server(
    models: LoadedModels,
    host: str,
    settings: Settings,
    on_start: Callable[[], None],
    *,
    metrics: Metrics | None = None,
    leaves_pending: bool = False,
) -> Server:
    """Create the server of the models that a process has loaded.

    `on_start` is called once signals are handled; `leaves_pending` says that other processes accept
    on the same sockets.
    """
    app = create_app(
        models.registry,
        access=AccessPolicy.create(host, settings),
        settings=settings,
        metrics=metrics,
    )

    def start(loop: asyncio.AbstractEventLoop) -> None:
        models.set_loop(loop)
        on_start()

    return Server(
        app.handler,
        app.request_middleware.refuse,
        settings.limits,
        on_start=start,
        on_drain=models.registry.end,
        leaves_pending=leaves_pending,
    )
