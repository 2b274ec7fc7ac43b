"""Uvicorn's HTTP/1.1 protocol with limits on connections: time, size of a head, requests in work.

Uvicorn has no such limits. `small_requests` adds replies without a task.
"""

import asyncio
from functools import lru_cache

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serve.server.connection_table import ConnectionTable
from serve.server.response_bytes import CLOSE, encode_reply
from serve.settings import ClientLimits

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
    503: "{max_requests} requests are being answered already; ask again",
}


class TasklessCycle:
    """Stand in for uvicorn's `RequestResponseCycle` where a reply is written without a task."""

    __slots__ = ("disconnected", "keep_alive", "response_complete", "response_started")
    message_event = asyncio.Event()
    """Set when a client is lost; nothing waits for it."""
    more_body = False

    def __init__(self, *, complete: bool = False) -> None:
        self.disconnected = False
        self.keep_alive = True
        self.response_started = self.response_complete = complete


class LimitedProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP connection, with limits."""

    table: ConnectionTable

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
        """Start the request unless its head is too large or too many requests are in work."""
        if self._is_head_too_large():
            raise ValueError("the head is too large")
        self._reading_head = False
        if self._is_overloaded() and self._is_free() and self.parser.get_method() == b"POST":
            parser, path = self.parser, self.url.partition(b"?")[0].decode("latin-1")
            last = parser.get_http_version() == "1.0" or not parser.should_keep_alive()
            self._refuse_request(path, closing=last or self.table.draining)
        else:
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

    def _is_overloaded(self) -> bool:
        return len(self.tasks) + self.table.small_requests >= self.table.limits.max_requests

    def _is_free(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _refuse_request(self, path: str, *, closing: bool) -> None:
        """Refuse one request of an overloaded server; the connection goes on."""
        self._write_refusal(503, path, closing=closing)
        self.cycle = TasklessCycle(complete=True)  # type: ignore[assignment]
        if closing:
            self.transport.close()
        self.on_response_complete()

    def _refuse(self, status: int) -> None:
        """Refuse the connection: say why, read on for a moment, and close."""
        self._refused = True
        silent = status == 408 and not self._request_bytes
        if silent or self.transport.is_closing() or not self._may_answer():
            self.transport.close()
            return
        self._write_refusal(status, "", closing=True)
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

    def _write_refusal(self, status: int, path: str, *, closing: bool) -> None:
        responder = self.table.responder
        reply = responder.refuse(path, status, _sentence(status, self.table.limits))
        headers = (*self.server_state.default_headers, *(CLOSE if closing else ()))
        self.transport.write(encode_reply(reply, responder.headers, headers))


@lru_cache(maxsize=16)
def _sentence(status: int, limits: ClientLimits) -> str:
    return _SENTENCES[status].format_map(vars(limits))
