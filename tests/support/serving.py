"""`python -m serve` as a process for tests."""

import http.client
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support import ROOT

READY = re.compile(
    r"serving \S+ [0-9a-f]{12} \(run \S+, trial \S+\) on "
    r"http://127\.0\.0\.1:(\d+)/ - ctrl-c stops\n"
)


@dataclass(frozen=True)
class Server:
    """A server that has said that it is ready."""

    process: subprocess.Popen[str]
    port: int

    def ask(self, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, body, {"content-type": "application/json"})
        reply = connection.getresponse()
        answer = reply.status, reply.read()
        connection.close()
        return answer


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "serve", *arguments],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def serving(*arguments: str, cwd: Path) -> Iterator[Server]:
    with start(*arguments, "--port", "0", cwd=cwd) as process:
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            ready = READY.fullmatch(line)
            assert ready, line
            yield Server(process, int(ready[1]))
        finally:
            process.kill()


def fails(*arguments: str, cwd: Path) -> tuple[int, str]:
    """Exit status and stderr of a command that is to end by itself, stdout being empty."""
    with start(*arguments, cwd=cwd) as process:
        out, err = process.communicate(timeout=60)
        assert out == ""
        return process.returncode, err


def post(server: Server, body: bytes, kind: str, accept: str) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("POST", "/invocations", body, {"content-type": kind, "accept": accept})
    reply = connection.getresponse()
    answer = reply.status, reply.headers["content-type"], reply.read()
    connection.close()
    return answer
