"""Cost of a command with all processes that it starts: wall time, CPU time, peak memory.

Linux only: the processes are found by a mark in their environment, since Ray's outlive and leave
the family of the process that started them. Memory is proportional (PSS): a page that three
processes share counts once.
"""

import contextlib
import os
import platform
import secrets
import statistics
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

MARK = "TUNEPORT_METER"
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """One run of a command."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    out: str
    err: str


def measured(command: Sequence[str], **environment: str) -> Cost:
    """Run a command to its end; RuntimeError with its last words where it fails."""
    mark = secrets.token_hex(8)
    meter = _Meter(mark)
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        env={**os.environ, **environment, MARK: mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    meter.start()
    out, err = process.communicate()
    wall = time.perf_counter() - began
    meter.stop()
    if process.returncode != 0:
        raise RuntimeError(f"{command} ended with {process.returncode}: {(err or out)[-2000:]}")
    return Cost(wall, meter.cpu_s, meter.peak_mb, out, err)


class _Meter:
    """Samples the marked processes twice a second."""

    def __init__(self, mark: str) -> None:
        self._mark = f"{MARK}={mark}".encode()
        self._cpu: dict[int, float] = {}
        self._ours: dict[int, bool] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak_mb = 0.0

    @property
    def cpu_s(self) -> float:
        return sum(self._cpu.values())

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.5):
            self._sample()

    def _sample(self) -> None:
        memory = 0.0
        for folder in Path("/proc").iterdir():
            # A process may end while it is looked at.
            if folder.name.isdigit():
                with contextlib.suppress(OSError):
                    memory += self._look(folder)
        self.peak_mb = max(self.peak_mb, memory)

    def _look(self, folder: Path) -> float:
        pid = int(folder.name)
        if pid not in self._ours:
            self._ours[pid] = self._mark in (folder / "environ").read_bytes()
        if not self._ours[pid]:
            return 0.0
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        self._cpu[pid] = (int(fields[11]) + int(fields[12])) / TICKS
        rollup = (folder / "smaps_rollup").read_text()
        pss = next(line for line in rollup.splitlines() if line.startswith("Pss:"))
        return int(pss.split()[1]) / 1024


def processes(mark: str) -> dict[int, str]:
    """The command lines, by process, of those that a command with this mark started."""
    marked = f"{MARK}={mark}".encode()
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if marked in (folder / "environ").read_bytes():
                    line = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(folder.name)] = line.decode(errors="replace")
    return found


def conditions(*packages: str) -> str:
    """Describe the machine and the versions in a line."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, {versions}"


def spread(values: Sequence[float]) -> str:
    """The median and both ends."""
    middle = statistics.median(values)
    return f"{middle:.2f} ({min(values):.2f} to {max(values):.2f})"


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """Rows under the names of their cells."""
    names = list(rows[0])
    lines = [names, *([row[name] for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(names))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
