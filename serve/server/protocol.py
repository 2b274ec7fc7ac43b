"""Uvicorn's HTTP/1.1 protocol with the limits that it lacks: time, size of a head, connections."""

import asyncio
from collections.abc import Callable, Sequence

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from serve.server.connection_table import ConnectionTable
from serve.settings import ClientLimits

Refuse = Callable[[int, str], tuple[Sequence[tuple[bytes, bytes]], bytes]]
"""Counts a request that is refused before it reaches the application, with a status and a reason;
returns the headers and the body of the reply."""

MAX_HEAD_BYTES = 32 * 1024
"""Of a request's line and headers."""
MAX_HEADERS = 100
LINGER_SECONDS = 1.0
"""How long a refused client may go on sending, so that it can read the reason."""
_SENTENCES = {
    400: "the request is not HTTP/1.1",
    408: "the request took longer than {read_timeout_s:g} seconds to arrive",
    429: "this address has {max_connections} connections already",
    431: f"a request's line and headers may have {MAX_HEAD_BYTES} bytes and {MAX_HEADERS} headers",
}


class LimitedProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP connection, with limits."""

    table: ConnectionTable
    refuse: Refuse

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse the connection if its client has too many."""
        super().connection_made(transport)
        self._reading_since: float | None = self.loop.time()
        """When the first byte of the request being read came."""
        self._idle_since: float | None = None
        self._unread_since: float | None = None
        """Since when the client leaves replies unread."""
        self._request_bytes = 0
        self._reading_head = False
        self._refused = False
        """Whether the connection is kept only until the client has read why it was refused."""
        if not self.table.add(self, self.client[0] if self.client else ""):
            self._refuse(429)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.table.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the bytes that came."""
        if self._refused:
            return
        if self._reading_since is None:
            self._reading_since = self.loop.time()
        self._idle_since = None
        self._request_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The request is answered as if it had asked for no upgrade; what follows is not HTTP.
            self.cycle.keep_alive = False
            self._refused, self._reading_since = True, None
        except httptools.HttpParserError:
            self._refuse(431 if self._is_head_too_large() else 400)
        else:
            if self._reading_head and self._request_bytes > MAX_HEAD_BYTES:
                self._refuse(431)

    def on_message_begin(self) -> None:
        """Note that a head begins."""
        super().on_message_begin()
        self._reading_head = True

    def on_headers_complete(self) -> None:
        """Start the request unless its head is too large."""
        if self._is_head_too_large():
            raise ValueError("the head is too large")
        self._reading_head = False
        super().on_headers_complete()
        if self.table.draining:
            self.close_after_reply()

    def close_after_reply(self) -> None:
        """Close after the reply in work, unless it has begun."""
        if not (self._is_free() or self.cycle.response_started):
            self.cycle.keep_alive = False

    def close_if_idle(self) -> None:
        """Close unless a request is being read or answered."""
        if self._is_free() and not (self._request_bytes or self._refused):
            self.transport.close()

    def on_message_complete(self) -> None:
        """Note that the whole request has come."""
        super().on_message_complete()
        self._reading_since = None
        self._request_bytes = 0

    def on_response_complete(self) -> None:
        """Start the next pipelined request, or go idle without the timer that uvicorn starts."""
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
        else:
            self.server_state.total_requests += 1
            self.flow.resume_reading()
            self._idle_since = self.loop.time()

    def pause_writing(self) -> None:
        """Note that the client does not read."""
        super().pause_writing()
        self._unread_since = self.loop.time()

    def resume_writing(self) -> None:
        """Note that the client reads again."""
        super().resume_writing()
        self._unread_since = None

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

    def _is_head_too_large(self) -> bool:
        # The bytes that came with the head may be its body, so sum up only where it matters.
        if self._request_bytes <= MAX_HEAD_BYTES and len(self.headers or ()) <= MAX_HEADERS:
            return False
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        return size > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS

    def _is_free(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _refuse(self, status: int) -> None:
        """Refuse the connection: say why, read on for a moment, and close."""
        self._refused = True
        silent = status == 408 and not self._request_bytes
        if silent or self.transport.is_closing() or not self._may_answer():
            self.transport.close()
            return
        self.transport.write(self._encode_refusal(status))
        self.transport.write_eof()
        self._reading_since = self.loop.time()
        if self.cycle is not None and not self.cycle.response_complete:
            # Tell the application, which waits for the rest of the body.
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _may_answer(self) -> bool:
        """Whether no other reply is being sent, or owed to an earlier request."""
        if self.pipeline:
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
