"""Memory that a client's requests hold, whether it stays connected or not."""

import asyncio
from dataclasses import dataclass

from serve.server.connection_table import MAX_HELD_BYTES, ConnectionTable
from serve.settings import ClientLimits


@dataclass(eq=False)
class Line:
    """A connection, as the table sees it."""

    loop: asyncio.AbstractEventLoop
    address: str = "10.0.0.1"

    def check_timeouts(self, now: float) -> None: ...

    def close_after_reply(self) -> None: ...

    def close_if_idle(self, since: float) -> None: ...


def test_a_request_in_work_counts_after_its_client_has_left() -> None:
    async def check() -> None:
        table = ConnectionTable(ClientLimits())
        gone, other = (Line(asyncio.get_running_loop()) for _ in range(2))
        for line in (gone, other):
            table.add(line)
        assert table.hold(gone, MAX_HELD_BYTES // 2)
        table.remove(gone, holds=True)
        assert not table.hold(other, 1_000_000)
        table.release(gone)
        assert table.hold(other, 1_000_000)
        table.remove(other, holds=False)

    asyncio.run(check())
