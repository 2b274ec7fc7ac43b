"""Table of a server's connections: their number for each client, and checks of their timeouts."""

import asyncio
from collections import Counter
from typing import Protocol

from serve.settings import ClientLimits

TICK_SECONDS = 0.25


class Connection(Protocol):
    """A connection whose timeouts are checked."""

    loop: asyncio.AbstractEventLoop

    def check_timeouts(self, now: float) -> None:
        """Close the connection if it exceeds a limit."""

    def close_after_reply(self) -> None:
        """Make the next reply the connection's last."""

    def close_if_idle(self) -> None:
        """Close the connection if no request is in work."""


class ConnectionTable:
    """The connections of a server, and the state that they share.

    A timer for each request would cost more than one that checks all connections a few times a
    second.
    """

    def __init__(self, limits: ClientLimits) -> None:
        self.limits = limits
        self.draining = False
        """Whether each connection closes after its next reply."""
        self._clients: dict[Connection, str] = {}
        self._connections_by_client: Counter[str] = Counter()
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, connection: Connection, client: str) -> bool:
        """Add a connection; False if its client has too many."""
        self._clients[connection] = client
        self._connections_by_client[client] += 1
        if self._loop is not connection.loop:
            self._loop = connection.loop
            self._loop.call_later(self._tick_s, self._check_timeouts)
        return self._connections_by_client[client] <= self.limits.max_connections

    def remove(self, connection: Connection) -> None:
        """Forget a closed connection."""
        client = self._clients.pop(connection)
        self._connections_by_client[client] -= 1
        if not self._connections_by_client[client]:
            del self._connections_by_client[client]

    def drain(self) -> None:
        """Make the next reply of each connection its last."""
        self.draining = True
        for connection in self._clients:
            connection.close_after_reply()

    def close_idle(self) -> None:
        """Close the connections that have no request in work."""
        for connection in list(self._clients):
            connection.close_if_idle()

    @property
    def _tick_s(self) -> float:
        return min(TICK_SECONDS, self.limits.read_timeout_s / 4, self.limits.write_timeout_s / 4)

    def _check_timeouts(self) -> None:
        assert self._loop is not None  # it calls this
        now = self._loop.time()
        for connection in list(self._clients):
            connection.check_timeouts(now)
        if self._clients:
            self._loop.call_later(self._tick_s, self._check_timeouts)
        else:
            self._loop = None
