"""Requests that two replicas lose when one is killed, and when their model is changed.

Run as `python -m tests.benchmarks.replicas [--rounds N]`, under load; each round is one `kill -9`
and one change of the model. A killed replica loses the requests that it has, 8 at most; a change
may lose none.
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.benchmarks.meter import conditions, table
from tests.support.crowds import ask, npy
from tests.support.replicas import replicas, serving
from tests.support.tiny_model import TinyModel
from tests.support.wire import Served, post

CLIENTS = 8
BEFORE_S, AFTER_S = 2.0, 8.0
"""How long the load goes on around what is done to the replicas."""
BODY = post(npy(np.zeros((1, 28, 28), np.uint8)), kind="application/x-npy")


@dataclass
class Load:
    """Outcomes of requests that clients send one after the other."""

    sent: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    versions: Counter[bytes] = field(default_factory=Counter)
    lost: int = 0
    longest_s: float = 0.0
    over: bool = False

    async def client(self, port: int) -> None:
        """Ask until it is over; a connection that breaks is a request that is lost."""
        while not self.over:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                while not self.over:
                    await self._asked(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                self.lost += 1
            writer.close()

    async def _asked(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sent += 1
        began = time.perf_counter()
        code, fields, _ = await ask(reader, writer, BODY)
        self.longest_s = max(self.longest_s, time.perf_counter() - began)
        self.codes[code] += 1
        self.versions[fields.get(b"x-model-version", b"")] += 1

    def row(self, what: str, seconds: float) -> dict[str, str]:
        """It as a line of a table."""
        failed = sum(count for code, count in self.codes.items() if code not in (200, 503))
        return {
            "what": what,
            "s": f"{seconds:.1f}",
            "sent": str(self.sent),
            "answered": str(self.codes[200]),
            "refused": str(self.codes[503]),
            "lost": str(self.lost + failed),
            "longest s": f"{self.longest_s:.2f}",
        }


async def under_load(port: int, act: Callable[[], Awaitable[None]]) -> tuple[Load, float]:
    """Give the outcomes of a load while something is done, and how long that takes."""
    load = Load()
    clients = [asyncio.create_task(load.client(port)) for _ in range(CLIENTS)]
    await asyncio.sleep(BEFORE_S)
    began = time.perf_counter()
    await act()
    seconds = time.perf_counter() - began
    await asyncio.sleep(AFTER_S)
    load.over = True
    await asyncio.gather(*clients)
    return load, seconds


async def killed(served: Served) -> None:
    """Kill a replica, and wait until there is another."""
    lost = replicas(served)[0]
    os.kill(lost, signal.SIGKILL)
    while len(set(replicas(served)) - {lost}) < 2:
        await asyncio.sleep(0.1)


async def changed(served: Served, model: Path) -> None:
    """Let the replicas answer by another model."""
    words = ["-m", "serve", str(model), "--port", str(served.port), "--reload"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *words, stdout=subprocess.DEVNULL
    )
    assert await process.wait() == 0


def main() -> None:
    """Measure each several times, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        weights = np.random.default_rng(5).normal(0, 0.05, (784, 10)).astype(np.float32)
        models = [
            TinyModel.random().write(Path(folder, "one")),
            TinyModel(weights).write(Path(folder, "two")),
        ]
        with serving(models[0], "--ray", "--workers", "2") as served:
            for at in range(rounds):
                load, seconds = asyncio.run(under_load(served.port, lambda: killed(served)))
                rows.append(load.row("a replica killed", seconds))
                model = models[1 - at % 2]
                load, seconds = asyncio.run(
                    under_load(served.port, lambda model=model: changed(served, model))  # type: ignore[misc]
                )
                rows.append(load.row("the model changed", seconds))
    print(conditions("ray", "fastapi", "uvicorn", "onnxruntime"))
    print(table(rows))


if __name__ == "__main__":
    main()
