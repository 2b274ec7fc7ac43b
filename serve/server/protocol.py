"""What connections may do: how long a request may take to come, how large its head may be.

Uvicorn has no such limits. Its protocol is taken as it is; what is added here costs no timer for
each request: all connections are looked over a few times a second.
"""

import asyncio
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, cast

import httptools
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from serve.http.access import INLINE_BYTES, SECURITY_HEADERS
from serve.http.headers import ID, headers_of
from serve.http.inference import ModelRoute
from serve.http.middleware import Front
from serve.http.responses import ALIAS, Reply, reply
from serve.server.head_cache import Head
from serve.server.timeouts import Watch
from serve.settings import Allowance

_Headers = tuple[tuple[bytes, bytes], ...]
_CLOSE = ((b"connection", b"close"),)

MAX_HEAD = 32 * 1024
"""Bytes of a request's line and headers."""
MAX_HEADERS = 100
LINGER_SECONDS = 1.0
"""How long a client that was refused may go on sending, so that it comes to read why."""
_SENTENCES = {
    400: "what came is not HTTP/1.1",
    408: "the request took longer than {read_s:g} seconds to come",
    429: "this address has {per_client} connections already",
    431: f"a request's line and headers may have {MAX_HEAD} bytes and {MAX_HEADERS} headers",
    503: "{at_once} requests are being answered already; ask again",
}


class _Quick:
    """Stands in uvicorn's books for the reply to a request that has no task."""

    __slots__ = ("disconnected", "keep_alive", "response_complete", "response_started")
    message_event = asyncio.Event()
    """Nobody waits for it."""
    more_body = False

    def __init__(self, *, complete: bool = False) -> None:
        self.disconnected = False
        self.keep_alive = True
        self.response_started = self.response_complete = complete


class Connection(HttpToolsProtocol):
    """Uvicorn's HTTP connection, with limits."""

    watch: Watch

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, unless the client has too many connections."""
        super().connection_made(transport)
        self._since: float | None = self.loop.time()
        """When the request that is being read began to come."""
        self._idle: float | None = None
        """Since when nothing is asked."""
        self._stuck: float | None = None
        """Since when the client does not read."""
        self._bytes = 0
        self._head = False
        self._between = True
        """Whether the next byte begins a request."""
        self._whole = b""
        """What came at once, while it may be one request and nothing else."""
        self._last: Head | None = None
        """How its last small request began, if that came whole, or one of another connection."""
        self._small: ModelRoute | None = None
        """Who answers the request whose body is coming, as soon as it has come."""
        self._done = False
        """Whether it was refused for good, and is only kept until the client has read why."""
        if not self.watch.add(self, self.client[0] if self.client else ""):
            self._refuse(429)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self.watch.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read what has come."""
        if self._done or self._came_before(data):
            return
        self._whole = data if self._between else b""
        if self._since is None:
            self._since = self.loop.time()
        self._idle = None
        self._bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # It is answered as if it had asked for nothing else, and what follows is no HTTP.
            self.cycle.keep_alive = False
            self._done, self._since = True, None
        except httptools.HttpParserError:
            self._refuse(431 if self._head_too_large() else 400)
        else:
            if self._head and self._bytes > MAX_HEAD:
                self._refuse(431)

    def on_message_begin(self) -> None:
        """Note that a head begins."""
        super().on_message_begin()
        self._head = True
        self._between = False

    def on_headers_complete(self) -> None:
        """Pass the request on, unless its head is too large or too much is in work."""
        if self._head_too_large():
            raise ValueError("the head is too large")
        self._head = False
        if self._crowded() and self._is_free() and self.parser.get_method() == b"POST":
            parser, path = self.parser, self.url.partition(b"?")[0].decode("latin-1")
            last = parser.get_http_version() == "1.0" or not parser.should_keep_alive()
            self._send_away(path, closing=last or self.watch.ending)
        else:
            super().on_headers_complete()
            if self.watch.ending:
                self.end()

    def end(self) -> None:
        """Let the answer to what came last be the connection's last, unless it has begun."""
        if not (self._is_free() or self.cycle.response_started):
            self.cycle.keep_alive = False

    def close_idle(self) -> None:
        """Close where nothing is asked."""
        if self._is_free() and not (self._bytes or self._done):
            self.transport.close()

    def on_message_complete(self) -> None:
        """Note that nothing more is to come."""
        super().on_message_complete()
        self._since = None
        self._bytes = 0
        self._between = True
        if self._small is not None:
            route, self._small = self._small, None
            self._answer_soon(self.cycle, route)
            if self._whole and self.cycle.keep_alive:
                scope, body = cast(Scope, self.cycle.scope), len(self.cycle.body)
                self._last = Head.of(self._whole, scope, route, body)
                self.watch.head = self._last or self.watch.head
        self._whole = b""

    def on_response_complete(self) -> None:
        """Go on with what waits, or wait for more: a timer for it would cost each request."""
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
        else:
            self.server_state.total_requests += 1
            self.flow.resume_reading()
            self._idle = self.loop.time()

    def pause_writing(self) -> None:
        """Note that the client does not read."""
        super().pause_writing()
        self._stuck = self.loop.time()

    def resume_writing(self) -> None:
        """Note that it does."""
        super().resume_writing()
        self._stuck = None

    def look(self, now: float) -> None:
        """End what takes too long."""
        allowance = self.watch.allowance
        if self.transport.is_closing() and self._stuck is None:
            self._stuck = now
        if self._stuck is not None and now > self._stuck + allowance.write_s:
            self.transport.abort()
        elif self._done:
            if self._since is not None and now > self._since + LINGER_SECONDS:
                self.transport.abort()
        elif self._idle is not None and now > self._idle + self.timeout_keep_alive:
            self.transport.close()
        elif self.flow.read_paused:
            self._since = None if self._since is None else now
        elif self._since is not None and now > self._since + allowance.read_s:
            self._refuse(408)

    def _head_too_large(self) -> bool:
        # What came with the head's bytes may be a body, so that the sum is made only where it must.
        if self._bytes <= MAX_HEAD and len(self.headers or ()) <= MAX_HEADERS:
            return False
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        return size > MAX_HEAD or len(self.headers) > MAX_HEADERS

    def _came_before(self, data: bytes) -> bool:
        """Answer or refuse a request that begins as one before; false where it is to be read."""
        watch, head = self.watch, self._last or self.watch.head
        if head is None or not self._between or not self._is_free():
            return False
        body = head.body_of(data)
        if body is None or self.flow.write_paused or watch.ending:
            return False
        if self._last is None:
            self._last = head = head.on(self.client, self.server)
        if self._crowded():
            self._since = None
            self._send_away(head.scope["path"], closing=False)
            return True
        assert watch.front is not None  # it has answered the one before
        cycle = _Quick()
        send = partial(self._answered, cycle)
        if not watch.front.answer_soon(head.route, head.scope, body, send):
            return False
        self.cycle = cycle  # type: ignore[assignment]
        self._since = self._idle = None
        watch.in_work += 1
        return True

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Begin a request, which pays for a task of its own only where it is not small."""
        route = self._small_route(cycle)
        if route is None:
            super()._start_asgi_task(cycle, app)
        elif cycle.more_body:
            self._small = route
        else:
            self._answer_soon(cycle, route)

    def _small_route(self, cycle: RequestResponseCycle) -> ModelRoute | None:
        """Who answers it without a task, if anybody does."""
        front = self.watch.front
        if front is None or cycle.scope["method"] != "POST" or cycle.waiting_for_100_continue:
            return None
        headers = headers_of(cast(Scope, cycle.scope))
        if b"transfer-encoding" in headers or b"upgrade" in headers:
            return None
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > INLINE_BYTES:
            return None
        return front.model_route(cast(Scope, cycle.scope))

    def _answer_soon(self, cycle: RequestResponseCycle, route: ModelRoute) -> None:
        front, scope, body = self.watch.front, cast(Scope, cycle.scope), bytes(cycle.body)
        assert front is not None  # it has named the route
        send = partial(self._answered, cycle)
        if self.flow.write_paused or not front.answer_soon(route, scope, body, send):
            super()._start_asgi_task(cycle, self.app)
        else:
            self.watch.in_work += 1

    def _answered(self, cycle: "RequestResponseCycle | _Quick", answer: Reply, name: bytes) -> None:
        self.watch.in_work -= 1
        if cycle.disconnected:
            return
        closing = not cycle.keep_alive
        start = _start(answer.status, tuple(answer.headers))
        same = _lines((*self.server_state.default_headers, *(_CLOSE if closing else ())))
        changing = b"content-length: %d\r\n%b: %b\r\n\r\n" % (len(answer.body), ID, name)
        self.transport.write(b"".join((start, same, changing, answer.body)))
        cycle.response_started = cycle.response_complete = True
        if closing:
            self.transport.close()
        self.on_response_complete()

    def _crowded(self) -> bool:
        return len(self.tasks) + self.watch.in_work >= self.watch.allowance.at_once

    def _is_free(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _send_away(self, path: str, *, closing: bool) -> None:
        self.transport.write(self._message(503, path, closing=closing))
        self.cycle = _Quick(complete=True)  # type: ignore[assignment]
        self.watch.refused(path, 503)
        if closing:
            self.transport.close()
        self.on_response_complete()

    def _refuse(self, status: int) -> None:
        """Say why, hear the client out for a moment, and close."""
        self._done = True
        silent = status == 408 and not self._bytes
        if silent or self.transport.is_closing() or not self._may_answer():
            self.transport.close()
            return
        self.transport.write(self._message(status, "", closing=True))
        self.transport.write_eof()
        self._since = self.loop.time()
        self.watch.refused("", status)
        if self.cycle is not None and not self.cycle.response_complete:
            # Whoever waits for the rest of the request learns that it does not come.
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _may_answer(self) -> bool:
        """Whether no other reply is under way, or waited for by what came before."""
        if self.pipeline:
            return False
        return self._is_free() or (self.cycle.more_body and not self.cycle.response_started)

    def _message(self, status: int, path: str, *, closing: bool) -> bytes:
        start, body = _refusal(status, path.startswith(ALIAS), self.watch.allowance)
        ending = _CLOSE if closing else ()
        changing = _lines((*self.server_state.default_headers, *ending))
        return b"".join((start, changing, b"\r\n", body))


@lru_cache(maxsize=64)  # Under a crowd, what a refusal costs is taken from who is let in.
def _refusal(status: int, alias: bool, allowance: Allowance) -> tuple[bytes, bytes]:
    """How a refusal begins, and its body."""
    sentence = _SENTENCES[status].format_map(vars(allowance))
    response = reply({"path": ALIAS if alias else ""}, status, sentence)
    start = _start(response.status_code, tuple(response.raw_headers))
    return start, bytes(response.body)


@lru_cache(maxsize=256)  # Replies begin in a few ways.
def _start(status: int, headers: _Headers) -> bytes:
    return STATUS_LINE[status] + _lines((*headers, *SECURITY_HEADERS))


@lru_cache(maxsize=16)  # The date changes once a second.
def _lines(headers: _Headers) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])


def limited(
    allowance: Allowance, refused: Callable[[str, int], None], front: Front | None = None
) -> type[Any]:
    """The protocol of a server that allows that much, for uvicorn's `http`.

    The front, where there is one, answers small requests without a task.
    """
    return type("LimitedConnection", (Connection,), {"watch": Watch(allowance, refused, front)})
