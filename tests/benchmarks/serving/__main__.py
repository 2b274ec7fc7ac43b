"""Run the arms one after the other, several times over, and print what was measured."""

import argparse
import json
import math
import os
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks.meter import MARK, conditions, processes, table
from tests.benchmarks.serving.arms import ARMS, HERE, MODEL, MODEL_VARIABLE, PORT, Arm

SERVER_CORE, CLIENT_CORE = 0, 1
START_SECONDS = 300
CONNECTIONS = 64
FEW_CONNECTIONS = 8
WARM_SECONDS = 1.0
OURS, BARE = "ours", "bare"


class NotStartedError(Exception):
    """A server that does not come to answer."""


@dataclass
class Figures:
    """Results of one arm, over all rounds."""

    rate: list[float] = field(default_factory=list)
    rate_of_few: list[float] = field(default_factory=list)
    """With `FEW_CONNECTIONS`."""
    cpu_us: list[float] = field(default_factory=list)
    """The server's processor time for each request; what else the machine does changes it least."""
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    ready_s: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arms", nargs="+", choices=[arm.name for arm in ARMS])
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--peers", default=sys.executable, help="an interpreter that has peers")
    arguments = parser.parse_args()
    arms = [arm for arm in ARMS if arguments.arms is None or arm.name in arguments.arms]
    with tempfile.TemporaryDirectory() as folder:
        run = _Run(_made(Path(folder, "model")), arguments.peers, arguments.seconds)
        arms = [arm for arm in arms if run.installed(arm)]
        figures = {arm.name: Figures() for arm in arms}
        for _ in range(arguments.rounds):
            for arm in [arm for arm in arms if arm.name in figures]:
                try:
                    run.measure(arm, figures[arm.name])
                except NotStartedError as error:
                    print(f"{error}, and is left out", file=sys.stderr)
                    del figures[arm.name]
        print(conditions("uvicorn", "fastapi", "torch", "onnxruntime"))
        print(
            f"server on core {SERVER_CORE}, client on core {CLIENT_CORE}, {arguments.rounds} rounds"
        )
        print(table([_row(name, found, figures) for name, found in figures.items()]))
        if OURS in figures:
            print(run.overload(next(arm for arm in arms if arm.name == OURS), figures[OURS]))


def _made(folder: Path) -> Path:
    """The model's folder, made by a process of its own, which leaves no torch in this one."""
    subprocess.run([sys.executable, "-m", f"{HERE}.model", str(folder)], check=True)
    return folder


@dataclass(frozen=True)
class _Run:
    model: Path
    peers: str
    seconds: float

    def installed(self, arm: Arm) -> bool:
        """Whether the arm's server is there; says so where it is not."""
        if arm.package is None:
            return True
        script = f"import importlib.util as u, sys; sys.exit(u.find_spec({arm.package!r}) is None)"
        there = subprocess.run([self.peers, "-c", script], check=False).returncode == 0
        if not there:
            print(f"{arm.name} is left out: {arm.package} is not installed", file=sys.stderr)
        return there

    def measure(self, arm: Arm, figures: Figures) -> None:
        """One round of an arm."""
        with self.started(arm) as (port, ready_s, mark):
            _load(arm, port, connections=CONNECTIONS, seconds=WARM_SECONDS)
            before = _cpu_us(mark)
            many = _load(arm, port, connections=CONNECTIONS, seconds=self.seconds)
            figures.cpu_us.append((_cpu_us(mark) - before) / max(1, sum(many["counts"].values())))
            few = _load(arm, port, connections=FEW_CONNECTIONS, seconds=self.seconds)
            alone = _load(arm, port, connections=1, seconds=self.seconds)
            figures.ready_s.append(ready_s)
            figures.memory_mb.append(_memory_mb(mark))
        for found in (many, few, alone):
            if set(found["counts"]) != {"200"} or found["lost"]:
                print(f"{arm.name}: {found['counts']}, {found['lost']} lost", file=sys.stderr)
        figures.rate.append(many["rate"])
        figures.rate_of_few.append(few["rate"])
        good = alone["ms"].get("200", {"p50": math.inf, "p99": math.inf})
        figures.p50_ms.append(good["p50"])
        figures.p99_ms.append(good["p99"])

    def overload(self, arm: Arm, figures: Figures) -> str:
        """Give the outcomes of twice the load that the arm can take."""
        rate = 2 * statistics.median(figures.rate)
        with self.started(arm) as (port, _, _):
            found = _load(arm, port, rate=rate, seconds=self.seconds)
        lines = [
            f"{arm.name} at {rate:.0f} requests a second, twice what it takes (aim: 503 in 50 ms):"
        ]
        for status, count in sorted(found["counts"].items()):
            ms = found["ms"][status]
            spread = ", ".join(f"{name} {value:.1f}" for name, value in ms.items())
            lines.append(f"  {status}: {count}; {spread} ms")
        lines.append(
            f"  lost: {found['lost']}; not sent for want of a connection: {found['unsent']}"
        )
        return "\n".join(lines)

    @contextmanager
    def started(self, arm: Arm) -> Iterator[tuple[int, float, str]]:
        """The arm's server on its core, once it answers: its port, how long it took, its mark."""
        port, mark = _free_port(), secrets.token_hex(8)
        words = [
            word.replace(PORT, str(port)).replace(MODEL, str(self.model)) for word in arm.command
        ]
        python = sys.executable if arm.package is None else self.peers
        environment = {
            **os.environ, MARK: mark, MODEL_VARIABLE: str(self.model), "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(Path.cwd()), "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
            "BENTOML_DO_NOT_TRACK": "true",
        }  # fmt: skip
        began = time.perf_counter()
        process = subprocess.Popen(
            [python, *words], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=partial(os.sched_setaffinity, 0, {SERVER_CORE}),
        )  # fmt: skip
        try:
            while not _answers(arm, port):
                if process.poll() is not None or time.perf_counter() > began + START_SECONDS:
                    raise NotStartedError(f"{arm.name} did not start in {START_SECONDS} s")
                time.sleep(0.01)
            yield port, time.perf_counter() - began, mark
        finally:
            _end(process, mark)


def _load(arm: Arm, port: int, **order: float) -> dict[str, Any]:
    """Give the client's measurements, on its core."""
    client = subprocess.run(
        [sys.executable, "-m", f"{HERE}.client"],
        input=json.dumps({"port": port, "request": arm.request.hex(), **order}),
        stdout=subprocess.PIPE, text=True, check=True,
        preexec_fn=partial(os.sched_setaffinity, 0, {CLIENT_CORE}),
    )  # fmt: skip
    found: dict[str, Any] = json.loads(client.stdout)
    return found


def _row(name: str, found: Figures, all_of_them: dict[str, Figures]) -> dict[str, str]:
    def middle(values: list[float]) -> float:
        return statistics.median(values)

    ours, bare = all_of_them.get(OURS), all_of_them.get(BARE)
    return {
        "arm": name,
        "requests/s": f"{middle(found.rate):.0f}",
        "ours is": f"{middle(ours.rate) / middle(found.rate):.2f}" if ours else "",
        f"with {FEW_CONNECTIONS}": f"{middle(found.rate_of_few):.0f}",
        "CPU us": f"{middle(found.cpu_us):.0f}",
        "p50 ms": f"{middle(found.p50_ms):.3f}",
        "p99 ms": f"{middle(found.p99_ms):.3f}",
        "above bare": f"{middle(found.p50_ms) - middle(bare.p50_ms):+.3f}" if bare else "",
        "ready s": f"{middle(found.ready_s):.2f}",
        "memory MB": f"{middle(found.memory_mb):.0f}",
        "aim": AIMS.get(name, ""),
    }


AIMS = {
    "bare": "ours at least 0.5; p50 0.2, p99 0.5 above",
    "ours, JSON floats": "at least 0.36 of bare",
    "ours, JSON integers": "at least half of NPY",
    "FastAPI, def, JSON": "ours at least 10",
    "FastAPI, async, NPY": "ours at least 10",
    "FastAPI, ONNX Runtime": "ours at least 4",
    "LitServe": "ours at least 20; ready and memory 1/4",
    "BentoML": "ours at least 5",
    "Ray Serve": "ours at least 5",
}


def _answers(arm: Arm, port: int) -> bool:
    """Whether the arm's request is answered well."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as line:
            line.sendall(arm.request)
            return line.recv(12) == b"HTTP/1.1 200"
    except OSError:
        return False


def _cpu_us(mark: str) -> float:
    """The processor time that all processes of an arm have taken."""
    found = [
        path for pid in processes(mark) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")
    ]
    return sum(int(path.read_text().split()[0]) for path in found) / 1000


def _memory_mb(mark: str) -> float:
    """The proportional memory of all processes of an arm."""
    total = 0
    for pid in processes(mark):
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += int(
            next(line for line in rollup.splitlines() if line.startswith("Pss:")).split()[1]
        )
    return total / 1024


def _end(process: subprocess.Popen[bytes], mark: str) -> None:
    """End the server, and what it leaves behind."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in processes(mark):
        os.kill(pid, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
