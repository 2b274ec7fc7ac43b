"""What one hostile client costs a server and its other clients.

Run as `python -m tests.benchmarks.hostile [NAME ...]`; a name is part of a row's. Each row is a
flood of `tests.support.floods` from 127.0.0.1, ten times against one `python -m serve`, while a
client at 127.0.0.2 asks for `/ping` and sends a good request, each on a connection of its own.
Linux only: the peak is the kernel's.
"""

import argparse
import http.client
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from serve.models.artifact import Golden, Manifest, TensorSpec, write
from serve.settings import KEY_VARIABLE
from tests.benchmarks.meter import conditions, table
from tests.support.floods import FLOODS, IMAGE
from tests.support.tiny_model import TinyModel
from tests.support.wire import Served, serving

TIMES = 10
MAX_ADDED_MB = 1500
"""The server is killed beyond it, so that the machine lives."""
MAX_PEAK_MB, MAX_LEFT_MB, MAX_P99_MS = 64, 8, 100
PAUSE_SECONDS = 0.02
SETTLE_SECONDS = 1.5
KEYED = {"A4": "a key of many letters"}
"""Floods that send no key to a server that has one."""
LARGE = {"A7 130 wait for 100", "A7 a byte of 8 large bodies", "A7 a byte of 64 chunked bodies"}
"""Floods during which the good request has a hundred images, of 157 KB."""
SLOW = {"B10 3,800 inputs of 61 KB"}
"""Floods against a network of small inputs that takes 1.5 ms for each."""


@dataclass
class Witness:
    """A client at another address that asks and notes how long the answer takes."""

    port: int
    method: str
    path: str
    body: bytes
    headers: dict[str, str]
    seconds: list[float] = field(default_factory=list)
    failed: int = 0

    def ask_until(self, ended: threading.Event) -> None:
        """Ask on a new connection each time."""
        while not ended.wait(PAUSE_SECONDS):
            began = time.perf_counter()
            try:
                answered = self._ask() == 200
            except (OSError, http.client.HTTPException):
                answered = False
            self.failed += not answered
            self.seconds.append(time.perf_counter() - began)

    def p99_ms(self) -> float:
        """The time within which 99 of 100 were answered."""
        ordered = sorted(self.seconds)
        return 1000 * ordered[math.ceil(0.99 * len(ordered)) - 1]

    def _ask(self) -> int:
        source = ("127.0.0.2", 0)
        line = http.client.HTTPConnection("127.0.0.1", self.port, 10, source_address=source)
        try:
            line.request(self.method, self.path, self.body, self.headers)
            return line.getresponse().status
        finally:
            line.close()


def main() -> None:
    """Run each flood, print the table, and exit with 1 if a row misses its aim."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="part of a row's name (all rows)")
    parser.add_argument("--times", type=int, default=TIMES)
    arguments = parser.parse_args()
    chosen = [
        name for name in FLOODS
        if not arguments.names or any(part in name for part in arguments.names)
    ]  # fmt: skip
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        tiny = TinyModel.random().write(Path(folder, "tiny"))
        slow = write_slow_model(Path(folder, "slow"))
        for name in chosen:
            rows.append(measure(name, slow if name in SLOW else tiny, arguments.times))
            print(table(rows).splitlines()[-1], file=sys.stderr)
    print(conditions("uvicorn", "onnxruntime"))
    print(table(rows))
    sys.exit(any(row["aim"] for row in rows))


def measure(name: str, model: Path, times: int) -> dict[str, str]:
    """Run one flood `times` times against a new server."""
    key = KEYED.get(name[:2])
    if key is not None:
        os.environ[KEY_VARIABLE] = key
    try:
        with serving(model) as server:
            return _measure(name, server, key, times)
    finally:
        os.environ.pop(KEY_VARIABLE, None)


def _measure(name: str, server: Served, key: str | None, times: int) -> dict[str, str]:
    body = b"[0.1,0.2,0.3,0]" if name in SLOW else IMAGE
    if name in LARGE:
        body = b"[" + b",".join([IMAGE] * 100) + b"]"
    headers = {"content-type": "application/json", **({"x-api-key": key} if key else {})}
    ping = Witness(server.port, "GET", "/ping", b"", {})
    good = Witness(server.port, "POST", "/invocations", body, headers)
    with _asking(ping, good):
        time.sleep(SETTLE_SECONDS)
    for witness in (ping, good):
        assert not witness.failed, witness
        witness.seconds.clear()
    before, left = server.resident_kb(), []
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")  # The peak begins anew.
    with _guarding(server, before), _asking(ping, good):
        for _ in range(times):
            command = [sys.executable, "-m", "tests.support.floods", name, str(server.port)]
            subprocess.run(command, check=True)
            time.sleep(SETTLE_SECONDS)
            left.append(_resident_kb(server))
    peak = _peak_kb(server)
    added, kept = (peak - before) / 1024, (left[-1] - left[0]) / 1024
    killed = server.process.poll() is not None
    failed = ping.failed + good.failed
    misses = {
        "memory": killed or added > MAX_PEAK_MB,
        "left": killed or kept > MAX_LEFT_MB,
        "time": max(ping.p99_ms(), good.p99_ms()) > MAX_P99_MS,
        "answers": failed > 0,
    }
    return {
        "flood": name,
        "peak MB": f"over {MAX_ADDED_MB}" if killed else f"{added:.0f}",
        "left MB": "" if killed else f"{kept:.0f}",
        "/ping p99 ms": f"{ping.p99_ms():.0f}",
        "good p99 ms": f"{good.p99_ms():.0f}",
        "asked": f"{len(ping.seconds) + len(good.seconds)}",
        "lost or refused": str(failed),
        "aim": ", ".join(kind for kind, missed in misses.items() if missed),
    }


@contextmanager
def _asking(*witnesses: Witness) -> Iterator[None]:
    ended = threading.Event()
    threads = [threading.Thread(target=each.ask_until, args=(ended,)) for each in witnesses]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


@contextmanager
def _guarding(server: Served, before_kb: int) -> Iterator[None]:
    """Kill the server if it grows so far that the machine could run out of memory."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.01):
            if _resident_kb(server) - before_kb > MAX_ADDED_MB * 1024:
                server.process.send_signal(signal.SIGKILL)
                server.process.wait()
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _resident_kb(server: Served) -> int:
    return 0 if server.process.poll() is not None else server.resident_kb()


def _peak_kb(server: Served) -> int:
    if server.process.poll() is not None:
        return 0
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def write_slow_model(folder: Path) -> Path:
    """Write a model of four numbers whose network takes about 1.5 ms for each input."""
    generator = np.random.default_rng(0)
    width, layers = 512, 80
    first = generator.normal(0, 1, (4, width)).astype(np.float32)
    middle = (generator.normal(0, 1, (width, width)) / width**0.5).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "first"], ["h0"])]
    for number in range(layers):
        nodes += [
            helper.make_node("MatMul", [f"h{number}", "middle"], [f"m{number}"]),
            helper.make_node("Tanh", [f"m{number}"], [f"h{number + 1}"]),
        ]
    nodes.append(
        helper.make_node("ReduceMean", [f"h{layers}"], ["y"], axes=[1], keepdims=1)
    )  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "slow",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])],
        [numpy_helper.from_array(first, "first"), numpy_helper.from_array(middle, "middle")],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    )  # fmt: skip
    golden = np.zeros((1, 4), np.float32)
    manifest = Manifest(
        name="slow",
        inputs=(TensorSpec("x", "float32", (-1, 4)),),
        outputs=(TensorSpec("y", "float32", (-1, 1)),),
        golden=Golden(golden.tolist(), np.zeros((1, 1), np.float32).tolist()),
        labels=None,
        run="slow-run",
        trial_id="abc",
        epoch=1,
        config={},
        metrics={},
    )
    write(folder, manifest, {"model.onnx": bytes(model.SerializeToString())})
    return folder


if __name__ == "__main__":
    main()
