"""Replicas of an endpoint on Ray Serve."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import ROOT
from tests.support.wire import READY, Served

TOLD = re.compile(r" answers now, |^a replica is lost: |^\d replicas? answers? again$")


@contextmanager
def serving(model: Path, *arguments: str) -> Iterator[Served]:
    """`python -m serve`, which SIGTERM ends with status 0, and which tells changes and losses."""
    process = subprocess.Popen(
        [sys.executable, "-m", "serve", str(model), "--port", "0", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    ready = READY.fullmatch(line)
    assert ready, line + process.stderr.read()
    yield Served(process, int(ready[1]))
    process.terminate()
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (0, "")
    assert [line for line in err.splitlines() if not TOLD.search(line)] == []


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and theirs."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found[1:]


def replicas(served: Served) -> list[int]:
    """The processes of an endpoint's replicas."""
    return [
        pid
        for pid in descendants(served.process.pid)
        if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::ServeReplica")
    ]
