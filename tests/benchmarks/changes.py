"""Requests lost while a server's model is swapped, it is stopped, or a worker is killed.

Run as `python -m tests.benchmarks.changes [--times N] [--workers N] [--connections N]`. It prints
the requests that were sent, answered, refused, lost and reset by each kind of change; the exit
status is 1 if more were lost than may be. A connection that was made while a server ended may be
reset before it is accepted.
"""

import argparse
import http.client
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from serve.rollout import admin, run_dir
from tests.benchmarks.load import Tally, load
from tests.benchmarks.meter import conditions, table
from tests.support.tiny_model import TinyModel
from tests.support.wire import Served, post, serving

UNDER_LOAD_SECONDS = 0.5
"""How long clients ask before each change, and after."""
REQUEST = post(str([0] * 784).encode())


@dataclass(frozen=True)
class Setting:
    """Machine and versions of the measurement."""

    models: tuple[Path, Path]
    times: int
    workers: int
    connections: int

    @contextmanager
    def served(self) -> Iterator[Served]:
        with serving(self.models[0], "--workers", str(self.workers)) as server:
            yield server


def swaps(setting: Setting) -> tuple[Tally, int]:
    """One model in the place of the other, and back, as often as is asked."""
    tally = Tally()
    with setting.served() as server, load(server.port, REQUEST, setting.connections, tally):
        place = run_dir.find("127.0.0.1", server.port)
        assert place is not None
        for number in range(setting.times):
            time.sleep(UNDER_LOAD_SECONDS)
            model = setting.models[(number + 1) % 2]
            admin.send_request(place.socket, "reload", model=str(model))
        time.sleep(UNDER_LOAD_SECONDS)
    # Each version has answered, and always as it does.
    assert [len(answers) for answers in tally.bodies.values()] == [1, 1], tally.bodies
    return tally, 0


def signals(setting: Setting) -> tuple[Tally, int]:
    """A server that is ended while it is asked, and ends with 0."""
    tally = Tally()
    for _ in range(setting.times):
        with setting.served() as server, load(server.port, REQUEST, setting.connections, tally):
            time.sleep(UNDER_LOAD_SECONDS)
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(60) == 0
    return tally, tally.reset


def kills(setting: Setting) -> tuple[Tally, int]:
    """A worker that is killed, and comes again."""
    tally = Tally()
    with setting.served() as server, load(server.port, REQUEST, setting.connections, tally):
        for number in range(setting.times):
            time.sleep(UNDER_LOAD_SECONDS)
            os.kill(_workers(server)[number % setting.workers], signal.SIGKILL)
            while _starts(server) < setting.workers + number + 1:
                time.sleep(0.05)
        time.sleep(UNDER_LOAD_SECONDS)
    return tally, setting.times * setting.connections


CHANGES: dict[str, Callable[[Setting], tuple[Tally, int]]] = {
    "swap of the model": swaps,
    "SIGTERM": signals,
    "kill -9 of a worker": kills,
}
"""Each with the requests that may be lost: of a killed worker those that it had in hand."""


def main() -> None:
    """Do all, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--connections", type=int, default=16)
    arguments = parser.parse_args()
    if arguments.workers < 2:
        parser.error("--workers: a worker that is killed is one of two at least")
    with tempfile.TemporaryDirectory() as folder:
        models = _model(Path(folder, "one"), 1), _model(Path(folder, "two"), 2)
        setting = Setting(models, arguments.times, arguments.workers, arguments.connections)
        found = {name: change(setting) for name, change in CHANGES.items()}
    print(conditions("uvicorn", "onnxruntime"))
    print(table([_row(name, arguments.times, tally) for name, (tally, _) in found.items()]))
    sys.exit(any(tally.lost + tally.reset > may_be for tally, may_be in found.values()))


def _row(name: str, times: int, tally: Tally) -> dict[str, str]:
    counts = ("sent", "answered", "refused", "lost", "reset")
    return {
        "change": f"{times} x {name}",
        **{key: f"{getattr(tally, key):,}" for key in counts},
        "slowest": f"{tally.slowest_s:.2f} s",
    }


def _model(folder: Path, seed: int) -> Path:
    weights = np.random.default_rng(seed).normal(0, 0.05, (784, 10)).astype(np.float32)
    return TinyModel(weights).write(folder)


def _workers(server: Served) -> list[int]:
    children = Path(f"/proc/{server.process.pid}/task").glob("*/children")
    return sorted(int(pid) for path in children for pid in path.read_text().split())


def _starts(server: Served) -> int:
    """How many workers have started; 0 where the one that was asked is killed over it."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request("GET", "/metrics")
        told = connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return 0
    found = re.search(rb"\ntuneport_starts_total (\d+)", told)
    assert found, told
    return int(found[1])


if __name__ == "__main__":
    main()
