"""Uvicorn's server with our limits, which ends without losing a request."""

import asyncio
import gc
import socket
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import uvicorn

from serve.http.access import hosts_of
from serve.server.protocol import limited
from serve.server.sockets import BACKLOG, Door, is_awaited, refuse_new
from serve.server.timeouts import Watch
from serve.settings import Settings

if TYPE_CHECKING:
    from serve.http.app import Application
    from serve.http.metrics import Metrics
    from serve.rollout.loaded_models import Models

DRAIN_SECONDS = 20.0
"""How long requests may go on after a signal; SageMaker ends a container after 30."""
ARRIVAL_SECONDS = 0.1
"""How long a connection may take that has begun to come when no new one may."""
SILENT_SECONDS = 1.0
"""How long a connection may then ask nothing: what its client had sent by then has come."""
TICK_SECONDS = 0.02
ALLOCATIONS = 20_000
"""After how many the collector looks for garbage: a crowd's requests, alive at once, are none."""
KEEP_ALIVE_SECONDS = 65
"""Longer than proxies keep a connection they think is free, so that none is cut under a request."""


def built(
    models: "Models",
    host: str,
    settings: Settings,
    begin: Callable[[], None],
    metrics: "Metrics | None" = None,
) -> "Server":
    """The server of a process's models; `begin` is called once signals end it as they should."""
    from serve.http.app import create_app

    app = create_app(
        models.registry,
        hosts=hosts_of(host),
        api_key=settings.api_key,
        wait_s=settings.wait_s,
        log=sys.stderr if settings.log_json else None,
        metrics=metrics,
    )
    protocol = limited(settings.allowance, app.front.refused, app.front)
    return Server(_config(app, protocol), models, protocol.watch, begin)


class Server(uvicorn.Server):
    """Ends in steps: says that it is not ready, lets nobody in, answers all that has come."""

    def __init__(
        self, config: uvicorn.Config, models: "Models", watch: Watch, begin: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._models = models
        self._watch = watch
        self._begin = begin
        self._doors: list[Door] = []
        self.leaves_others = False
        """Whether others go on accepting on its sockets, once it has ended."""

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer who connects to these sockets, until a signal; for a process that does no more."""
        gc.freeze()  # What is loaded by now stays; the collector need not visit it again.
        gc.set_threshold(ALLOCATIONS)
        super().run(sockets)

    def end(self) -> None:
        """End, and the others with it; for any thread."""
        self.leaves_others = False
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin."""
        loop = asyncio.get_running_loop()
        self._models.attend(loop)
        self._begin()
        await super().startup([])
        self._doors = [Door(loop, each, self._connection) for each in sockets or ()]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End, within `DRAIN_SECONDS`."""
        loop = asyncio.get_running_loop()
        until = loop.time() + DRAIN_SECONDS
        self._models.registry.end()
        self._watch.end()
        if not self.leaves_others:
            await self._let_in(sockets or (), until)
        for door in self._doors:
            door.close()
        for listener in sockets or ():
            listener.close()
        await self._wait_while(self._is_busy, until)
        for task in list(self.server_state.tasks):
            task.cancel()

    async def _let_in(self, listeners: Sequence[socket.socket], until: float) -> None:
        """Accept who is there, and then nobody any more."""
        for listener in listeners:
            refuse_new(listener)
        await asyncio.sleep(ARRIVAL_SECONDS)
        await self._wait_while(lambda: any(map(is_awaited, listeners)), until)

    async def _wait_while(self, holds: Callable[[], bool], until: float) -> None:
        """Wait, and close those who ask nothing: they may hold what those who wait need."""
        loop = asyncio.get_running_loop()
        silent = loop.time() + SILENT_SECONDS
        while holds() and not self.force_exit and loop.time() < until:
            if loop.time() > silent:
                self._watch.close_idle()
            await asyncio.sleep(TICK_SECONDS)

    def _is_busy(self) -> bool:
        state = self.server_state
        arriving = any(door.arriving for door in self._doors)
        return bool(arriving or state.connections or state.tasks)

    def _connection(self) -> asyncio.Protocol:
        protocol: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
        return protocol(config=self.config, server_state=self.server_state, app_state={})


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
