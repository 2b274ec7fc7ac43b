"""The load: connections that ask one request after the other, or at a rate whatever comes back.

A process of its own: `python -m tests.benchmarks.serving.client`, its orders as JSON on stdin, what
it measured as JSON on stdout.
"""

import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import uvloop

REQUEST_ID = b"0" * 16
"""Placeholder in a request, which each one replaces by an id of its own, as clients do."""
MOST_CONNECTIONS = 500
TICK_SECONDS = 0.001


@dataclass
class Record:
    """Replies."""

    latencies: dict[int, list[float]] = field(default_factory=dict)
    lost: int = 0

    def add(self, status: int, seconds: float) -> None:
        self.latencies.setdefault(status, []).append(seconds)

    def summary(self, seconds: float) -> dict[str, Any]:
        """Counts by status, the rate of 200, and percentiles in milliseconds."""
        return {
            "counts": {status: len(values) for status, values in self.latencies.items()},
            "rate": len(self.latencies.get(200, ())) / seconds,
            "lost": self.lost,
            "ms": {
                status: dict(
                    zip(
                        ("p50", "p99", "max"),
                        np.percentile(values, (50, 99, 100)) * 1000,
                        strict=True,
                    )
                )
                for status, values in self.latencies.items()
            },
        }


class Client(asyncio.Protocol):
    """One connection, with one request at a time."""

    ids = itertools.count(1)

    def __init__(self, request: bytes, record: Record, idle: Callable[["Client"], None]) -> None:
        self._start, self._has_id, self._end = request.partition(REQUEST_ID)
        self._record = record
        self._idle = idle
        self._came = b""
        self._began: float | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods only

    def ask(self, due: float | None = None) -> None:
        """Send the request; its time counts from when it was due."""
        self._began = time.perf_counter() if due is None else due
        own_id = b"%016x" % next(self.ids) if self._has_id else b""
        self._transport.write(b"".join((self._start, own_id, self._end)))

    def data_received(self, data: bytes) -> None:
        came = self._came = self._came + data if self._came else data
        end = came.find(b"\r\n\r\n")
        if end < 0 or not _whole(came, end):
            return
        self._came = b""
        assert self._began is not None  # an answer has a question
        self._record.add(int(came[9:12]), time.perf_counter() - self._began)
        self._began = None
        self._idle(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._began is not None:
            self._record.lost += 1

    def close(self) -> None:
        self._began = None
        self._transport.close()


def _whole(came: bytes, end: int) -> bool:
    head = came[:end].lower()
    at = head.find(b"content-length:")
    if at < 0:
        return came.endswith(b"0\r\n\r\n")
    return len(came) >= end + 4 + int(head[at + 15 :].split(b"\r\n", 1)[0])


async def closed(port: int, request: bytes, connections: int, seconds: float) -> dict[str, Any]:
    """Every connection asks again as soon as it is answered."""
    loop, record = asyncio.get_running_loop(), Record()
    until = time.perf_counter() + seconds

    def again(client: Client) -> None:
        if time.perf_counter() < until:
            client.ask()

    clients = [await _connect(loop, port, request, record, again) for _ in range(connections)]
    until = time.perf_counter() + seconds
    for client in clients:
        client.ask()
    await asyncio.sleep(seconds + 0.5)
    for client in clients:
        client.close()
    return record.summary(seconds)


async def opened(port: int, request: bytes, rate: float, seconds: float) -> dict[str, Any]:
    """Requests come at a rate, and wait for nobody; latencies count from when they were due."""
    loop, record = asyncio.get_running_loop(), Record()
    idle: list[Client] = []
    clients = [
        await _connect(loop, port, request, record, idle.append) for _ in range(MOST_CONNECTIONS)
    ]
    idle.extend(clients)
    unsent: Counter[str] = Counter()
    began, sent = time.perf_counter(), 0
    while (now := time.perf_counter()) < began + seconds:
        for number in range(sent, int((now - began) * rate)):
            if idle:
                idle.pop().ask(began + number / rate)
            else:
                unsent["unsent"] += 1
        sent = max(sent, int((now - began) * rate))
        await asyncio.sleep(TICK_SECONDS)
    await asyncio.sleep(1)
    for client in clients:
        client.close()
    return {**record.summary(seconds), "unsent": unsent["unsent"], "sent": sent}


async def _connect(
    loop: asyncio.AbstractEventLoop,
    port: int,
    request: bytes,
    record: Record,
    idle: Callable[[Client], None],
) -> Client:
    _, client = await loop.create_connection(
        lambda: Client(request, record, idle), "127.0.0.1", port
    )
    return client


def main() -> None:
    """Do what stdin says."""
    order = json.load(sys.stdin)
    request = bytes.fromhex(order.pop("request"))
    work = opened if "rate" in order else closed
    print(json.dumps(uvloop.run(work(request=request, **order))))


if __name__ == "__main__":
    main()
