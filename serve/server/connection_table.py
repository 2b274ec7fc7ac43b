"""Table of a server's connections: what each address has of them, and checks of their timeouts.

One address may have half of what there is, of connections and of bytes in memory, so that others
are served whatever it does.
"""

import asyncio
import ipaddress
from collections.abc import Sequence
from typing import Protocol

from starlette.types import Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from serve.settings import ClientLimits, Shares

TICK_SECONDS = 0.25
MAX_HELD_BYTES = 40 * 1024 * 1024
"""Of requests that are not answered and replies that are not read; half for one address."""
FREE_BYTES = 16 * 1024
"""A connection that holds no more does not count, so that small requests always have room."""


class Connection(Protocol):
    """A connection whose limits are checked."""

    loop: asyncio.AbstractEventLoop
    address: str
    """Client of the current request; at first, the address that has connected."""

    def check_timeouts(self, now: float) -> None:
        """Close the connection if it exceeds a limit."""

    def close_after_reply(self) -> None:
        """Make the next reply the connection's last."""

    def close_if_idle(self, since: float) -> None:
        """Close the connection if no request has been in work since that time."""


class ConnectionTable:
    """The connections of a server, and the state that they share.

    A timer for each request would cost more than one that checks all connections a few times a
    second.
    """

    def __init__(self, limits: ClientLimits) -> None:
        self.limits = limits
        self.draining = False
        """Whether each connection closes after its next reply."""
        # Starlette's scope is a mapping, uvicorn's a typed dictionary.
        proxies = ProxyHeadersMiddleware(_fail, list(limits.trusted_proxies))  # type: ignore[arg-type]
        self._proxies = proxies.trusted_hosts
        self._peers: dict[Connection, str] = {}
        self._connections = Shares(2 * limits.max_connections)
        self._held: dict[Connection, tuple[str, int]] = {}
        self._held_bytes = Shares(MAX_HELD_BYTES)
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, connection: Connection) -> int | None:
        """Add a connection; return the status to refuse it with if there are too many."""
        peer = self._peers[connection] = connection.address
        self._connections.add(peer)
        if self._loop is not connection.loop:
            self._loop = connection.loop
            self._loop.call_later(self._tick_s, self._check_timeouts)
        if self._connections.total > self._connections.most:
            return 503
        exceeds = self._connections.of(peer) > self._connections.most_of_one
        return 429 if exceeds and peer not in self._proxies else None

    def remove(self, connection: Connection, *, holds: bool) -> None:
        """Forget a closed connection, which holds nothing more or is to be released."""
        self._connections.add(self._peers.pop(connection), -1)
        if not holds:
            self.release(connection)

    def find_client(self, connection: Connection, headers: Sequence[tuple[bytes, bytes]]) -> str:
        """Return the client of a request: who has connected, or whom a trusted proxy names."""
        peer = self._peers[connection]
        if peer not in self._proxies:
            return peer
        values = [value for name, value in headers if name == b"x-forwarded-for"]
        forwarded_for = b", ".join(values).decode("latin-1")
        try:
            host, _ = self._proxies.get_trusted_client_address(forwarded_for)
            return str(ipaddress.ip_address(host))
        except ValueError:  # There is no such header, or it names no address.
            return peer

    def hold(self, connection: Connection, count: int) -> bool:
        """Note how many bytes a connection holds; False if its client has too many."""
        if self._held:
            self.release(connection)
        if count <= FREE_BYTES:
            return True
        address = connection.address
        self._held[connection] = address, count
        held = self._held_bytes
        held.add(address, count)
        return held.of(address) <= held.most_of_one and held.total <= held.most

    def drain(self) -> None:
        """Make the next reply of each connection its last."""
        self.draining = True
        for connection in self._peers:
            connection.close_after_reply()

    def close_idle(self, since: float) -> None:
        """Close the connections that have had no request in work since that time."""
        for connection in list(self._peers):
            connection.close_if_idle(since)

    @property
    def _tick_s(self) -> float:
        return min(TICK_SECONDS, self.limits.read_timeout_s / 4, self.limits.write_timeout_s / 4)

    def release(self, connection: Connection) -> None:
        """Note that a connection holds nothing more."""
        if connection in self._held:
            address, count = self._held.pop(connection)
            self._held_bytes.add(address, -count)

    def _check_timeouts(self) -> None:
        assert self._loop is not None  # it calls this
        now = self._loop.time()
        for connection in list(self._peers):
            connection.check_timeouts(now)
        if self._peers:
            self._loop.call_later(self._tick_s, self._check_timeouts)
        else:
            self._loop = None


async def _fail(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("uvicorn's middleware only reads X-Forwarded-For here")
