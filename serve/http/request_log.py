"""The request log: a middleware that writes a line of JSON for each request, and never waits.

A line that cannot be written at once, as the disk is full or nobody reads the pipe, is dropped and
counted in `tuneport_log_lines_dropped`.
"""

import json
import os
import re
import select
import stat
import time
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.http.headers import REQUEST_ID, read_headers
from serve.http.metrics import Metrics

MAX_PATH_LENGTH = 200
STDERR = 2
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")


class Log(Protocol):
    """Receives the lines; a text file is one."""

    def write(self, line: str, /) -> object:
        """Write a line; raises OSError if it cannot be written."""


class StderrLog:
    """Standard error as a log that does not block."""

    def __init__(self) -> None:
        self._descriptor = _open_pipe(STDERR)
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLOUT)

    def write(self, line: str, /) -> None:
        """Write a line; raises OSError if it cannot be written at once."""
        content = line.encode()
        if not self._poll.poll(0) or os.write(self._descriptor, content) < len(content):
            raise BlockingIOError("standard error takes no more")


class LogMiddleware:
    """Logs each request by what passes between the server and the application."""

    def __init__(self, app: ASGIApp, log: Log, metrics: Metrics) -> None:
        self._app = app
        self._log = log
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        start = time.perf_counter()
        bytes_in = bytes_out = 0
        status, headers = 500, dict[bytes, bytes]()

        async def receive_counted() -> Message:
            nonlocal bytes_in
            message = await receive()
            bytes_in += len(message.get("body", b""))
            return message

        async def send_counted(message: Message) -> None:
            nonlocal status, headers, bytes_out
            if message["type"] == "http.response.start":
                status, headers = message["status"], dict(message["headers"])
            bytes_out += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive_counted, send_counted)
        finally:
            self._write(
                time=time.time(),
                id=_read_text(headers, REQUEST_ID),
                trace=_read_trace(scope),
                client=scope["client"][0] if scope.get("client") else None,
                method=scope["method"],
                path=scope["path"][:MAX_PATH_LENGTH],
                status=status,
                version=_read_text(headers, b"x-model-version"),
                bytes_in=bytes_in,
                bytes_out=bytes_out,
                ms=round((time.perf_counter() - start) * 1000, 3),
            )

    def _write(self, **line: object) -> None:
        try:
            self._log.write(f"{json.dumps(line)}\n")
        except OSError:
            self._metrics.count_dropped(1)


def _open_pipe(descriptor: int) -> int:
    """Open a pipe once more, where that is allowed, for writing without waiting.

    Its other users, who share the descriptor's flags, go on as before. Any other file is returned
    as it is: two descriptors of it would overwrite each other's lines.
    """
    if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        try:
            return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # It belongs to another user.
            return descriptor
    return descriptor


def _read_text(headers: dict[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")


def _read_trace(scope: Scope) -> str | None:
    """Return the trace id of W3C's `traceparent` header."""
    match = _TRACEPARENT.fullmatch(read_headers(scope).get(b"traceparent", b""))
    return None if match is None else match[1].decode()
