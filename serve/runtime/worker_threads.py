"""Blocking work beside the event loop: in a few threads, for which requests wait a limited time."""

from collections.abc import Callable
from typing import TypeVar

import anyio
from anyio import CapacityLimiter, to_thread

from serve.errors import DeadlineError

T = TypeVar("T")


class WorkerThreads:
    """Runs up to `count` functions at once."""

    def __init__(self, count: int) -> None:
        self._limiter = CapacityLimiter(count)

    async def run(self, function: Callable[[], T], wait_s: float) -> T:
        """Run a function in a thread; raises DeadlineError if none is free within `wait_s`."""
        with anyio.move_on_after(wait_s) as scope:
            await self._limiter.acquire()
        if scope.cancelled_caught:
            raise DeadlineError(f"the request waited {wait_s:g} seconds for its turn")
        try:
            # A server that ends does not wait for an answer that does not come.
            return await to_thread.run_sync(function, abandon_on_cancel=True)
        finally:
            self._limiter.release()
