"""Uvicorn's server with our protocol. It ends without losing a request."""

import asyncio
import ctypes
import gc
import socket
import sys
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from serve.server.protocol import Refuse, create_protocol
from serve.server.sockets import BACKLOG, has_pending_connection
from serve.settings import ClientLimits

DRAIN_SECONDS = 20.0
"""How long requests may go on after a signal; SageMaker ends a container after 30."""
SILENT_SECONDS = 1.0
"""How long a drained connection may stay idle: by then, what its client had sent has come."""
TICK_SECONDS = 0.02
GC_THRESHOLD = 20_000
"""Allocations between garbage collections: the many live requests of a crowd are no garbage."""
MAPPED_BYTES = 256 * 1024
_M_MMAP_THRESHOLD = -3
"""Number of the option in `malloc.h`."""
SWITCH_SECONDS = 0.0005
"""How long a thread, as one that parses a large body, may keep the event loop's from Python."""
KEEP_ALIVE_SECONDS = 65
"""Longer than proxies keep an idle connection, so that none is cut under a request."""


class Server(uvicorn.Server):
    """An HTTP server that drains before it ends.

    It reports not ready, accepts connections that are pending, stops to listen, and answers every
    request that has come.
    """

    def __init__(
        self,
        app: ASGIApp,
        refuse: Refuse,
        limits: ClientLimits,
        *,
        on_start: Callable[[asyncio.AbstractEventLoop], None],
        on_drain: Callable[[], None],
        leaves_pending: bool = False,
    ) -> None:
        """Set up a server; `run` starts it.

        Args:
            app: The application.
            refuse: Words the replies to requests that do not reach the application.
            limits: Limits on clients.
            on_start: Called on the event loop once signals are handled, before the first request.
            on_drain: Called when the server begins to end.
            leaves_pending: Leave connections that wait to be accepted to other processes that
                accept on the same sockets.
        """
        protocol = create_protocol(limits, refuse)
        super().__init__(_create_config(app, protocol))
        self._table = protocol.table
        self._on_start = on_start
        self._on_drain = on_drain
        self._leaves_pending = leaves_pending

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve on these sockets until a signal, in a process that does nothing else."""
        gc.freeze()  # What is loaded by now stays; the collector need not visit it again.
        gc.set_threshold(GC_THRESHOLD)
        _return_large_blocks()
        sys.setswitchinterval(SWITCH_SECONDS)
        super().run(sockets)

    def stop(self) -> None:
        """Drain and end, as do all processes that accept on these sockets; for any thread."""
        self._leaves_pending = False
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to accept connections."""
        self._on_start(asyncio.get_running_loop())
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, for at most `DRAIN_SECONDS`."""
        listeners = sockets or []
        deadline = asyncio.get_running_loop().time() + DRAIN_SECONDS
        self._on_drain()
        self._table.drain()
        if not self._leaves_pending:
            await self._wait_while(lambda: any(map(has_pending_connection, listeners)), deadline)
        for server in self.servers:
            server.close()
        for listener in listeners:
            listener.close()
        await self._wait_while(self._is_busy, deadline)
        for task in list(self.server_state.tasks):
            task.cancel()

    async def _wait_while(self, condition: Callable[[], bool], deadline: float) -> None:
        """Wait, and close idle connections: pending ones may need their file descriptors."""
        loop = asyncio.get_running_loop()
        close_idle_from = loop.time() + SILENT_SECONDS
        await asyncio.sleep(TICK_SECONDS)  # For what has come, and is in no list yet.
        while condition() and not self.force_exit and loop.time() < deadline:
            if loop.time() > close_idle_from:  # A newer connection's request may be on its way.
                self._table.close_idle(loop.time() - SILENT_SECONDS)
            await asyncio.sleep(TICK_SECONDS)

    def _is_busy(self) -> bool:
        return bool(self.server_state.connections or self.server_state.tasks)


def _return_large_blocks() -> None:
    """Have glibc map large blocks by themselves, so that freed bodies leave no holes in a heap.

    It would raise the size from which it does, up to 32 MB, with each block that is freed.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:  # Other C libraries have no such option.
        set_option(_M_MMAP_THRESHOLD, MAPPED_BYTES)


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
