"""Uvicorn's server with our protocol. It ends without losing a request."""

import asyncio
import gc
import socket
from collections.abc import Callable, Sequence

import uvicorn
from starlette.types import ASGIApp

from serve.server.responder import Responder
from serve.server.small_requests import create_protocol
from serve.server.sockets import (
    BACKLOG,
    Acceptor,
    has_pending_connection,
    refuse_new_connections,
)
from serve.settings import ClientLimits

DRAIN_SECONDS = 20.0
"""How long requests may go on after a signal; SageMaker ends a container after 30."""
ARRIVAL_SECONDS = 0.1
"""How long a handshake may take that has begun when new ones are refused."""
SILENT_SECONDS = 1.0
"""How long a drained connection may stay idle: by then, what its client had sent has come."""
TICK_SECONDS = 0.02
GC_THRESHOLD = 20_000
"""Allocations between garbage collections: the many live requests of a crowd are no garbage."""
KEEP_ALIVE_SECONDS = 65
"""Longer than proxies keep an idle connection, so that none is cut under a request."""


class Server(uvicorn.Server):
    """An HTTP server that drains before it ends.

    It reports not ready, accepts connections that are pending, refuses new ones, and answers every
    request that has come.
    """

    def __init__(
        self,
        app: ASGIApp,
        responder: Responder,
        limits: ClientLimits,
        *,
        on_start: Callable[[asyncio.AbstractEventLoop], None],
        on_drain: Callable[[], None],
        leaves_pending: bool = False,
    ) -> None:
        """Set up a server; `run` starts it.

        Args:
            app: The application.
            responder: Its part that answers outside ASGI.
            limits: Limits on clients.
            on_start: Called on the event loop once signals are handled, before the first request.
            on_drain: Called when the server begins to end.
            leaves_pending: Leave connections that wait to be accepted to other processes that
                accept on the same sockets.
        """
        protocol = create_protocol(limits, responder)
        super().__init__(_create_config(app, protocol))
        self._table = protocol.table
        self._on_start = on_start
        self._on_drain = on_drain
        self._leaves_pending = leaves_pending
        self._acceptors: list[Acceptor] = []

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve on these sockets until a signal, in a process that does nothing else."""
        gc.freeze()  # What is loaded by now stays; the collector need not visit it again.
        gc.set_threshold(GC_THRESHOLD)
        super().run(sockets)

    def stop(self) -> None:
        """Drain and end, as do all processes that accept on these sockets; for any thread."""
        self._leaves_pending = False
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to accept connections."""
        loop = asyncio.get_running_loop()
        self._on_start(loop)
        await super().startup([])
        self._acceptors = [
            Acceptor(loop, listener, self._create_connection) for listener in sockets or ()
        ]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, for at most `DRAIN_SECONDS`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + DRAIN_SECONDS
        self._on_drain()
        self._table.drain()
        if not self._leaves_pending:
            await self._accept_pending(sockets or (), deadline)
        for acceptor in self._acceptors:
            acceptor.close()
        for listener in sockets or ():
            listener.close()
        await self._wait_while(self._is_busy, deadline)
        for task in list(self.server_state.tasks):
            task.cancel()

    async def _accept_pending(self, listeners: Sequence[socket.socket], deadline: float) -> None:
        for listener in listeners:
            refuse_new_connections(listener)
        await asyncio.sleep(ARRIVAL_SECONDS)
        await self._wait_while(lambda: any(map(has_pending_connection, listeners)), deadline)

    async def _wait_while(self, condition: Callable[[], bool], deadline: float) -> None:
        """Wait, and close idle connections: pending ones may need their file descriptors."""
        loop = asyncio.get_running_loop()
        close_idle_from = loop.time() + SILENT_SECONDS
        while condition() and not self.force_exit and loop.time() < deadline:
            if loop.time() > close_idle_from:
                self._table.close_idle()
            await asyncio.sleep(TICK_SECONDS)

    def _is_busy(self) -> bool:
        state = self.server_state
        accepting = any(acceptor.tasks for acceptor in self._acceptors)
        return bool(accepting or state.connections or state.tasks)

    def _create_connection(self) -> asyncio.Protocol:
        protocol: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
        return protocol(config=self.config, server_state=self.server_state, app_state={})


def _create_config(app: ASGIApp, protocol: type[asyncio.Protocol]) -> uvicorn.Config:
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
