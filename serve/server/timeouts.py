"""All connections of a server, which are looked over together."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from serve.http.middleware import Front
from serve.server.head_cache import Head
from serve.settings import Allowance

if TYPE_CHECKING:  # Connections are made with a watch.
    from serve.server.protocol import Connection

TICK_SECONDS = 0.25


class Watch:
    """Looks over all connections of a server."""

    def __init__(
        self, allowance: Allowance, refused: Callable[[str, int], None], front: Front | None
    ) -> None:
        self.allowance = allowance
        self.refused = refused
        """Told the path and status of what never came to the application."""
        self.front = front
        """Who answers small requests without a task, if anybody does."""
        self.head: Head | None = None
        """How the last small request of any connection began, that was read."""
        self.in_work = 0
        """How many requests are being answered without a task."""
        self.ending = False
        """Whether each connection's next answer is its last."""
        self._open: dict[Connection, str] = {}
        self._of_client: Counter[str] = Counter()
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, connection: "Connection", client: str) -> bool:
        """Watch a connection; false where its client has too many."""
        self._open[connection] = client
        self._of_client[client] += 1
        if self._loop is not connection.loop:
            self._loop = connection.loop
            self._loop.call_later(self._tick, self._look)
        return self._of_client[client] <= self.allowance.per_client

    def remove(self, connection: "Connection") -> None:
        """Forget a connection that is closed."""
        client = self._open.pop(connection)
        self._of_client[client] -= 1
        if not self._of_client[client]:
            del self._of_client[client]

    def end(self) -> None:
        """Let each connection's next answer be its last, and say so."""
        self.ending = True
        for connection in self._open:
            connection.end()

    def close_idle(self) -> None:
        """Close the connections that ask nothing."""
        for connection in list(self._open):
            connection.close_idle()

    @property
    def _tick(self) -> float:
        return min(TICK_SECONDS, self.allowance.read_s / 4, self.allowance.write_s / 4)

    def _look(self) -> None:
        assert self._loop is not None  # it calls this
        now = self._loop.time()
        for connection in list(self._open):
            connection.look(now)
        if self._open:
            self._loop.call_later(self._tick, self._look)
        else:
            self._loop = None
