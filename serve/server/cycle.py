"""Uvicorn's cycle of a request and its reply, in fewer steps and by one system call a reply."""

import asyncio

from starlette.types import Message, Scope
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

PIECE_BYTES = 256 * 1024
"""Of a reply that are freed at once."""
_NO_BODY_STATUSES = (204, 304)


class Cycle(RequestResponseCycle):
    """One request. Its reply's head waits for the first bytes of the body, as ASGI has it.

    `run_asgi`, which runs the application and logs what it raises, is uvicorn's. Types are ignored
    where Starlette's scopes and messages, which are mappings, stand for uvicorn's own types.
    """

    disconnected = False
    more_body = True
    response_started = response_complete = False
    flow: FlowControl

    def __init__(self, protocol: HttpToolsProtocol, scope: Scope, *, keep_alive: bool) -> None:
        self.scope = scope  # type: ignore[assignment]
        self.transport = protocol.transport
        self.flow = protocol.flow
        self.logger = protocol.logger
        self.default_headers = protocol.server_state.default_headers
        self.keep_alive = keep_alive
        self.waiting_for_100_continue = protocol.expect_100_continue
        self._parts: list[bytes] = []
        self._size = 0
        """Bytes of the body's parts that the application has not taken."""
        self._has_news = False
        """Whether something has come that the application has not received."""
        self._wakes: asyncio.Future[None] | None = None
        """Set once something comes, for an application that waits."""
        self._head = b""
        """Of the reply, until it is sent."""
        self._left: int | None = 0
        """Bytes of the reply's body still to come; None where it is sent in chunks."""

    def add_body(self, part: bytes) -> None:
        """Add a part of the body, and read no more of it once many wait."""
        self._parts.append(part)
        self._size += len(part)
        if self.is_full:
            self.flow.pause_reading()
        self.wake()

    @property
    def is_full(self) -> bool:
        """Whether no more of the body is read until the application takes what has come."""
        return self._size > HIGH_WATER_LIMIT

    def end_body(self) -> None:
        """Note that the whole body has come."""
        self.more_body = False
        self.wake()

    def disconnect(self) -> None:
        """Tell the application, if it is not done, that the client is gone."""
        self.disconnected = not self.response_complete
        self.wake()

    def wake(self) -> None:
        """Have the application look at what it may receive."""
        self._has_news = True
        if self._wakes is not None and not self._wakes.done():
            self._wakes.set_result(None)

    async def receive(self) -> Message:  # type: ignore[override]
        """Receive what has come of the body, or that the client is gone."""
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.waiting_for_100_continue = False
        if not (self.disconnected or self.response_complete):
            self.flow.resume_reading()
            while not self._has_news:
                self._wakes = asyncio.get_running_loop().create_future()
                await self._wakes
            self._has_news = False
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        parts, self._parts, self._size = self._parts, [], 0
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def send(self, message: Message) -> None:  # type: ignore[override]
        """Send the reply's head together with the first part of its body, then the other parts."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if not self.response_started and kind == "http.response.start":
            self.response_started = True
            self.waiting_for_100_continue = False
            self._head = self._encode_head(message["status"], message["headers"])
        elif self.response_started and not self.response_complete and kind == "http.response.body":
            more = message.get("more_body", False)
            content = self._encode_body(message.get("body", b""), more=more)
            if content := self._head + content if self._head else content:
                self._head = b""
                self._write(content)
            if not more:
                self._complete()
        else:
            raise RuntimeError(f"unexpected ASGI message {kind!r}")

    def _encode_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        lines = [*self.default_headers, *headers]
        known = dict(lines)
        if b"close" in known.get(b"connection", b"").lower():
            self.keep_alive = False
        elif not self.keep_alive:
            lines.append((b"connection", b"close"))
        length = known.get(b"content-length")
        if length is not None:
            self._left = int(length)
        elif self.scope["method"] != "HEAD" and status not in _NO_BODY_STATUSES:
            self._left = None
            lines.append((b"transfer-encoding", b"chunked"))
        head = b"\r\n".join(map(b": ".join, lines))
        # A value that had a line's end would begin a header of its own.
        if not head.count(b"\n") == head.count(b"\r") == len(lines) - 1 or b"\0" in head:
            raise RuntimeError("a header of the reply has a line's end or a zero in it")
        return b"%b%b\r\n\r\n" % (STATUS_LINE[status], head)

    def _encode_body(self, body: bytes, *, more: bool) -> bytes:
        if self.scope["method"] == "HEAD":
            return b""
        if self._left is None:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return chunk if more else chunk + b"0\r\n\r\n"
        self._left -= len(body)
        if self._left < 0 or (self._left and not more):
            raise RuntimeError("the reply's body has not the length that its head says")
        return body

    def _write(self, content: bytes) -> None:
        """Write in pieces: what the client has taken of a reply is freed by the piece."""
        if len(content) <= PIECE_BYTES:
            self.transport.write(content)
            return
        for start in range(0, len(content), PIECE_BYTES):
            self.transport.write(content[start : start + PIECE_BYTES])

    def _complete(self) -> None:
        self.response_complete = True
        self._parts, self._size = [], 0  # Nobody takes the rest of the body, which is read on.
        self.wake()
        if not self.keep_alive:
            self.transport.close()
