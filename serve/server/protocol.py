"""Uvicorn's HTTP/1.1 protocol with the limits that it lacks: time, sizes, connections, pipelining.

All bounds are in docs/security.md. What one address may have is counted in `connection_table`.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import cast
from urllib.parse import unquote

import httptools
from starlette.types import Scope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from serve.server.connection_table import FREE_BYTES, ConnectionTable
from serve.server.cycle import Cycle
from serve.settings import MAX_BODY_BYTES, ClientLimits

Refuse = Callable[[int, str], tuple[Sequence[tuple[bytes, bytes]], bytes]]
"""Counts a request that is refused before it reaches the application, with a status and a reason;
returns the headers and the body of the reply."""

MAX_HEAD_BYTES = 32 * 1024
"""Of a request's line and headers; as many may its chunk sizes or its trailers have."""
MAX_HEADERS = 100
PIECE_BYTES = 32 * 1024
"""Parsed at once: of chunks of a byte, some thousands."""
TURN_BYTES = 64 * 1024
"""Of one connection that are parsed in one turn of the event loop."""
LINGER_SECONDS = 1.0
"""How long a refused client may go on sending, so that it can read the reason."""
_HEAD_END = b"\r\n\r\n"
_SENTENCES = {
    400: "the request is not HTTP/1.1",
    408: "the request took longer than {read_timeout_s:g} seconds to arrive",
    429: "this address has {max_connections} connections already",
    431: f"a request's line and headers may have {MAX_HEAD_BYTES} bytes and {MAX_HEADERS} headers",
    503: "the server has as many connections or bodies in memory as it may; ask again",
}


class ReadingFlow(FlowControl):
    """Uvicorn's flow control, which reads no more while bytes wait to be parsed."""

    holds = False

    def resume_reading(self) -> None:
        """Resume unless bytes wait."""
        if not self.holds:
            super().resume_reading()


class LimitedProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP connection, with limits."""

    table: ConnectionTable
    refuse: Refuse
    cycle: Cycle

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        """Refuse the connection if there are too many, and drop it if its client is gone."""
        super().connection_made(transport)
        self.flow: ReadingFlow = ReadingFlow(transport)
        self.address = self.client[0] if self.client else ""
        """Client that the limits of one address are for."""
        self._reading_since: float | None = self.loop.time()
        """When the request being read began, and at first the connection."""
        self._idle_since: float | None = None
        self._unread_since: float | None = None
        """Since when the client leaves replies unread."""
        self._in_request = self._in_head = False
        """Whether a request is being read, and whether its head is."""
        self._task: asyncio.Task[None] | None = None
        """Runs the application on the request in work, if there is one."""
        self._waiting: deque[Cycle] = deque()
        """Requests that have come meanwhile; there is one at most."""
        self._body_bytes = 0
        """Of the request in work."""
        self._other_bytes = self._piece_bytes = 0
        """Bytes since the request, its head or the last of its body; of these, the newest."""
        self._unparsed = b""
        self._parsed = 0
        """Bytes of `_unparsed` that are parsed; the rest waits until a request is answered."""
        self._refused = False
        """Whether the connection is kept only until the client has read why it was refused."""
        self._refusal: int | None = None
        """Status of a refusal that waits for the replies before it."""
        status = self.table.add(self)
        if self.client is None:  # It was reset in the kernel's queue, which holds thousands.
            self._refused = True
            transport.abort()
        elif status is not None:
            self._refuse(status)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection, but for what its request in work has in memory."""
        self.table.remove(self, holds=self._task is not None)
        self.connections.discard(self)
        if self.cycle is not None:
            self.cycle.disconnect()
        self.flow.resume_writing()
        self.parser = None  # type: ignore[assignment]  # breaks a circle, as uvicorn does

    def data_received(self, data: bytes) -> None:
        """Parse the bytes that came, those that wait first."""
        if not self._refused:
            self._unparsed = self._unparsed[self._parsed :] + data if self._unparsed else data
            self._parsed = 0
            self._parse()

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        super().on_message_begin()
        self._in_request = self._in_head = True
        self._other_bytes = self._piece_bytes
        self._reading_since, self._idle_since = self.loop.time(), None

    def on_headers_complete(self) -> None:
        """Start the request unless its head is too large."""
        if self._is_head_too_large():
            raise ValueError("the head is too large")
        self._in_head, self._other_bytes = False, 0
        if self.table.limits.trusted_proxies:
            self.address = self.table.find_client(self, self.headers)
            self.scope["client"] = (self.address, 0)
        self._start_request()
        self.headers = []  # The parser adds trailers, which are no headers of the request.
        if self.table.draining:
            self.close_after_reply()

    def _start_request(self) -> None:
        """Have the application answer, once the requests before are answered."""
        scope, parser = self.scope, self.parser
        scope["method"] = parser.get_method().decode("ascii")
        scope["http_version"] = version = parser.get_http_version()
        url = httptools.parse_url(self.url)
        scope["raw_path"] = url.path
        scope["path"] = unquote(url.path.decode("ascii"))
        scope["query_string"] = url.query or b""
        keep_alive = version != "1.0" and parser.should_keep_alive()
        self.cycle = Cycle(self, cast(Scope, scope), keep_alive=keep_alive)
        if self._task is None:
            self._run(self.cycle)
        else:
            self.flow.pause_reading()
            self._waiting.append(self.cycle)

    def _run(self, cycle: Cycle) -> None:
        self._task = self.loop.create_task(self._answer(cycle))
        self.tasks.add(self._task)

    async def _answer(self, cycle: Cycle) -> None:
        try:
            await cycle.run_asgi(self.app)
        finally:
            self._end_request()

    def on_body(self, body: bytes) -> None:
        """Count the bytes of a body that the application gets."""
        if not self.cycle.response_complete:
            self.cycle.add_body(body)
        self._piece_bytes -= len(body)
        self._other_bytes = 0
        if not self._is_free():
            self._body_bytes += len(body)

    def on_message_complete(self) -> None:
        """Note that the whole request has come."""
        self.cycle.end_body()
        self._in_request = False
        self._reading_since = None

    def _end_request(self) -> None:
        """Parse what came meanwhile, or go idle, once the application has returned."""
        if self._task is not None:
            self.tasks.discard(self._task)
        self._task = None
        self._body_bytes = 0
        if self.transport.is_closing():
            self.table.release(self)
            return
        self._idle_since = self.loop.time()
        if self._waiting:
            self._run(self._waiting.popleft())
        elif self._refusal is not None:
            self._refuse(self._refusal)
        self._parse()
        self.flow.resume_reading()

    def pause_writing(self) -> None:
        """Note that the client does not read."""
        super().pause_writing()
        self._unread_since = self.loop.time()
        self._count_held_bytes()

    def resume_writing(self) -> None:
        """Note that the client reads again."""
        super().resume_writing()
        self._unread_since = None
        self._count_held_bytes()

    def close_after_reply(self) -> None:
        """Close after the reply in work, unless it has begun."""
        if not (self._is_free() or self.cycle.response_started):
            self.cycle.keep_alive = False

    def close_if_idle(self, since: float) -> None:
        """Close if no request has been read or answered since that time of the event loop."""
        if self._is_free() and not (self._in_request or self._refused):
            began = self._reading_since if self._idle_since is None else self._idle_since
            if began is None or began <= since:
                self.transport.close()

    def check_timeouts(self, now: float) -> None:
        """Close or refuse the connection if it takes too long."""
        limits = self.table.limits
        if self.transport.is_closing() and self._unread_since is None:
            self._unread_since = now
        if self._unread_since is not None and now > self._unread_since + limits.write_timeout_s:
            self.transport.abort()
        elif self._refused:
            if self._reading_since is not None and now > self._reading_since + LINGER_SECONDS:
                self.transport.abort()
        elif self._idle_since is not None and now > self._idle_since + self.timeout_keep_alive:
            self.transport.close()
        elif self.flow.read_paused:
            self._reading_since = None if self._reading_since is None else now
        elif self._reading_since is not None and now > self._reading_since + limits.read_timeout_s:
            self._refuse(408)

    def _parse(self) -> None:
        """Parse until a request waits for its answer, in pieces that end where heads may end.

        So at most one request, which comes in one piece with a body, is parsed ahead of its turn.
        """
        data, size, turn_end = self._unparsed, len(self._unparsed), self._parsed + TURN_BYTES
        while self._parsed < size and self._may_parse():
            if self._parsed >= turn_end:  # A byte may be a chunk; let other connections go on.
                self.loop.call_soon(self._parse_on)
                break
            end = self._find_end(data, size)
            piece = data[self._parsed : end] if end - self._parsed < size else data
            self._parsed = end
            self._parse_piece(piece)
        if self._parsed == size or self._refused:
            self._unparsed, self._parsed = b"", 0
        if self._unparsed or self.flow.holds:
            self.flow.holds = bool(self._unparsed)
            if self.flow.holds:
                self.flow.pause_reading()
        self._count_held_bytes()

    def _find_end(self, data: bytes, size: int) -> int:
        """Find the end of the next piece."""
        start = self._parsed
        end = data.find(_HEAD_END, start) + len(_HEAD_END)
        if end < len(_HEAD_END):
            end = size
        elif size - start <= FREE_BYTES and data.find(_HEAD_END, end) < 0:
            return size  # Usually a request with its body, and in any case one head.
        return min(end, start + PIECE_BYTES)

    def _parse_on(self) -> None:
        """Parse what was left in an earlier turn of the event loop."""
        if self._unparsed and not self.transport.is_closing():
            self._parse()
            if self.cycle is None or not self.cycle.is_full:
                self.flow.resume_reading()

    def _count_held_bytes(self) -> None:
        """Refuse the request, or cut off who does not read, if the client holds too much."""
        held = min(self._body_bytes, MAX_BODY_BYTES) + len(self._unparsed) - self._parsed
        if self.flow.write_paused:
            held += self.transport.get_write_buffer_size()
        if self.table.hold(self, held) or self._refused:
            return
        if self.flow.write_paused:
            self.transport.abort()
        else:
            self._refuse(503)

    def _may_parse(self) -> bool:
        may = self._in_request or self._is_free()
        return may and not (self._waiting or self._refused)

    def _parse_piece(self, piece: bytes) -> None:
        self._piece_bytes = len(piece)
        self._other_bytes += len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            # The request is answered as if it had asked for no upgrade; what follows is not HTTP.
            self.cycle.keep_alive = False
            self._refused, self._reading_since = True, None
        except httptools.HttpParserError:
            self._refuse(431 if self._is_head_too_large() else 400)
        else:
            too_many = self._other_bytes > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS
            if self._in_request and too_many:
                self._refuse(431)

    def _is_head_too_large(self) -> bool:
        # The end of an earlier request may be in the same piece, so sum up where it matters.
        if self._other_bytes <= MAX_HEAD_BYTES and len(self.headers or ()) <= MAX_HEADERS:
            return False
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        return size > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS

    def _is_free(self) -> bool:
        return self._task is None

    def _refuse(self, status: int) -> None:
        """Refuse the connection: say why, read on for a moment, and close."""
        self._refused = True
        is_answered = self._is_free() and not self._in_head
        if (status == 408 and is_answered) or self.transport.is_closing():
            self.transport.close()
            return
        if not self._may_answer():
            self._refusal, self._reading_since = status, None
            return
        self.transport.write(self._encode_refusal(status))
        self.transport.write_eof()
        self._reading_since = self.loop.time()
        if self.cycle is not None:  # The application may wait for the rest of the body.
            self.cycle.disconnect()

    def _may_answer(self) -> bool:
        """Whether no other reply is being sent, or owed to an earlier request."""
        if self._waiting:
            return False
        return self._is_free() or (self.cycle.more_body and not self.cycle.response_started)

    def _encode_refusal(self, status: int) -> bytes:
        headers, body = self.refuse(status, _SENTENCES[status].format_map(vars(self.table.limits)))
        length = (b"content-length", b"%d" % len(body))
        lines = (*headers, *self.server_state.default_headers, length, (b"connection", b"close"))
        head = b"".join([b"%b: %b\r\n" % line for line in lines])
        return b"%b%b\r\n%b" % (STATUS_LINE[status], head, body)


def create_protocol(limits: ClientLimits, refuse: Refuse) -> type[LimitedProtocol]:
    """Create the protocol class of one server, for uvicorn's `http` setting.

    Args:
        limits: Limits on its clients.
        refuse: Words the reply to a request that exceeds one.
    """
    members = {"table": ConnectionTable(limits), "refuse": staticmethod(refuse)}
    return type("BoundProtocol", (LimitedProtocol,), members)
