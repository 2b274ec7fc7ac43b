"""Uvicorn's server with our limits, which ends without losing a request."""

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import uvicorn

from serve.connections import Watch, limited
from serve.listening import BACKLOG, is_awaited, refuse_new
from serve.settings import Settings

if TYPE_CHECKING:
    from serve.api import Application
    from serve.models import Models

DRAIN_SECONDS = 20.0
"""How long requests may go on after a signal; SageMaker ends a container after 30."""
ARRIVAL_SECONDS = 0.1
"""How long a connection may take that has begun to come when no new one may."""
SILENT_SECONDS = 1.0
"""How long a connection may then ask nothing: what its client had sent by then has come."""
TICK_SECONDS = 0.02
KEEP_ALIVE_SECONDS = 65
"""Longer than proxies keep a connection they think is free, so that none is cut under a request."""


class Server(uvicorn.Server):
    """Ends in steps: says that it is not ready, lets nobody in, answers all that has come."""

    def __init__(
        self,
        app: "Application",
        models: "Models",
        settings: Settings,
        begin: Callable[[], None],
    ) -> None:
        """Call `begin`, which is to listen, once signals end this server as they should."""
        self._models = models
        self._begin = begin
        protocol = limited(settings.allowance, app.front.refused, app.front)
        self._watch: Watch = protocol.watch
        super().__init__(_config(app, protocol))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin."""
        self._models.attend(asyncio.get_running_loop())
        self._begin()
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End, within `DRAIN_SECONDS`."""
        loop = asyncio.get_running_loop()
        until = loop.time() + DRAIN_SECONDS
        self._models.registry.end()
        self._watch.end()
        for listener in sockets or ():
            refuse_new(listener)
        await asyncio.sleep(ARRIVAL_SECONDS)
        while any(map(is_awaited, sockets or ())) and loop.time() < until:
            await asyncio.sleep(TICK_SECONDS)
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        silent = loop.time() + SILENT_SECONDS
        while self._busy() and loop.time() < until:
            if loop.time() > silent:
                self._watch.close_idle()
            await asyncio.sleep(TICK_SECONDS)
        for task in list(self.server_state.tasks):
            task.cancel()

    def _busy(self) -> bool:
        state = self.server_state
        return not self.force_exit and bool(state.connections or state.tasks)


def _config(app: "Application", protocol: type[Any]) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=protocol,
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
