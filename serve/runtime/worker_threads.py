"""Blocking work beside the event loop: in a few threads, for which requests wait a limited time."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
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
        async with self.turn(wait_s):
            return await run_in_thread(function)

    @asynccontextmanager
    async def turn(self, wait_s: float) -> AsyncIterator[None]:
        """Have one of the threads for the block; raises DeadlineError likewise."""
        with anyio.move_on_after(wait_s) as scope:
            await self._limiter.acquire_on_behalf_of(turn := object())
        if scope.cancelled_caught:
            raise DeadlineError(f"the request waited {wait_s:g} seconds for its turn")
        try:
            yield
        finally:
            self._limiter.release_on_behalf_of(turn)


async def run_in_thread(function: Callable[[], T]) -> T:
    """Run a function in a thread; a server that ends does not wait for it."""
    return await to_thread.run_sync(function, abandon_on_cancel=True)
