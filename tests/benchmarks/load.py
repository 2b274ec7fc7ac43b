"""Clients for benchmarks of servers: each sends requests in turn and counts the replies."""

import asyncio
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

ANSWER_SECONDS = 30.0
"""A request that is not answered by then is lost."""
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n")
_VERSION = re.compile(rb"\r\nx-model-version: ([0-9a-f]+)\r\n")


@dataclass
class Tally:
    """Outcomes of the requests."""

    sent: int = 0
    answered: int = 0
    refused: int = 0
    """Could not connect, or were sent away with a status that is not 200."""
    lost: int = 0
    """Were sent, and not answered."""
    reset: int = 0
    """Were the first on a connection that was reset: perhaps the server never accepted it."""
    slowest_s: float = 0.0
    bodies: dict[bytes, Counter[bytes]] = field(default_factory=dict)
    """How often each version gave each answer."""

    def add(self, head: bytes, body: bytes, seconds: float) -> None:
        if not head.startswith(b"HTTP/1.1 200"):
            self.refused += 1
            return
        self.answered += 1
        self.slowest_s = max(self.slowest_s, seconds)
        version = _VERSION.search(head)
        assert version, head
        self.bodies.setdefault(version[1], Counter())[body] += 1


@contextmanager
def load(port: int, request: bytes, connections: int, tally: Tally) -> Iterator[None]:
    """Ask, on so many connections at once, while the block runs."""
    ended = threading.Event()

    async def ask_all() -> None:
        await asyncio.gather(*(_ask(port, request, tally, ended) for _ in range(connections)))

    thread = threading.Thread(target=asyncio.run, args=(ask_all(),))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


async def _ask(port: int, request: bytes, tally: Tally, ended: threading.Event) -> None:
    """Connect, ask until the server closes, and connect again; until the end, or refused."""
    while not ended.is_set():
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionError:
            tally.sent += 1
            tally.refused += 1
            return
        is_first = True
        try:
            while not ended.is_set() and await _answered(
                reader, writer, request, tally, is_first=is_first
            ):
                is_first = False
        finally:
            writer.close()


async def _answered(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    request: bytes,
    tally: Tally,
    *,
    is_first: bool,
) -> bool:
    """Ask once; whether the connection goes on."""
    tally.sent += 1
    began = time.perf_counter()
    try:
        writer.write(request)
        async with asyncio.timeout(ANSWER_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            assert length, head
            body = await reader.readexactly(int(length[1]))
    except (OSError, EOFError, TimeoutError) as error:
        if is_first and isinstance(error, ConnectionResetError):
            tally.reset += 1
        else:
            tally.lost += 1
        return False
    tally.add(head, body, time.perf_counter() - began)
    return b"\r\nconnection: close\r\n" not in head
