"""Requests as bytes, and a real server to send them to."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support import ROOT

READY = re.compile(r"serving .* on http://127\.0\.0\.1:(\d+)/ - ctrl-c stops\n")
TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Served:
    """A server that has said that it is ready."""

    process: subprocess.Popen[str]
    port: int

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        """Connect from this address of the machine."""
        address = ("127.0.0.1", self.port)
        return socket.create_connection(address, TIMEOUT_SECONDS, source_address=(source, 0))

    def exchange(self, *parts: bytes) -> bytes:
        """Send bytes, and give all that comes back until the server closes or has answered once."""
        with self.connect() as line:
            for part in parts:
                try:
                    line.sendall(part)
                except (BrokenPipeError, ConnectionResetError):
                    break  # It has answered, and reads no more.
            return answer(line)

    def resident_kb(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0])


@contextmanager
def serving(model: Path, *arguments: str) -> Iterator[Served]:
    """`python -m serve` of a model folder, until the end of the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "serve", str(model), "--port", "0", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            ready = READY.fullmatch(line)
            assert ready, line
            yield Served(process, int(ready[1]))
        finally:
            process.kill()


def post(
    body: bytes = b"",
    *headers: str,
    path: str = "/invocations",
    kind: str = "application/json",
    length: int | None = None,
) -> bytes:
    """A request with this body; with `length`, it says that it has so many bytes."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body) if length is None else length}",
        *headers,
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def answer(line: socket.socket) -> bytes:
    """One reply, head and body; what came, where the connection ended before; interim ones go."""
    came = b""
    while True:
        head, separator, rest = came.partition(b"\r\n\r\n")
        if separator and head.startswith(b"HTTP/1.1 100"):
            came = rest
            continue
        length = re.search(rb"(?i)\ncontent-length: (\d+)", head)
        if separator and length and len(rest) >= int(length[1]):
            return came[: len(head) + 4 + int(length[1])]
        try:
            part = line.recv(65536)
        except ConnectionResetError:
            return came
        if not part:
            return came
        came += part


def status(reply: bytes) -> int:
    """The status of a reply; 0 where there is none."""
    return int(reply[9:12]) if reply else 0


def body(reply: bytes) -> bytes:
    """Body of a reply."""
    return reply.partition(b"\r\n\r\n")[2]


def sentence(reply: bytes) -> str:
    """The one sentence of a refusal."""
    found = json.loads(body(reply))
    assert list(found) == ["error"], found
    return str(found["error"])
