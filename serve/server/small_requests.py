"""Replies to small requests without an asyncio task, which costs more than a small network."""

import asyncio
from functools import partial
from typing import Any, cast

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from serve.server.connection_table import ConnectionTable
from serve.server.head_cache import CachedHead
from serve.server.protocol import LimitedProtocol, TasklessCycle
from serve.server.responder import AnswerSmall, Header, Reply, Responder
from serve.server.response_bytes import CLOSE, encode_reply
from serve.settings import ClientLimits


class ServerProtocol(LimitedProtocol):
    """A connection that answers small requests as soon as they have come.

    A request that repeats the head of an earlier one is not parsed.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin without a cached head."""
        self._between_requests = True
        """Whether the next byte begins a request."""
        self._whole_request = b""
        """Bytes received at once, while they may be one request and nothing else."""
        self._last_head: CachedHead | None = None
        """Head of the connection's last small request, or of another connection's."""
        self._pending_answer: AnswerSmall | None = None
        """Answers the request whose body is being read."""
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Answer a request with a known head; parse others."""
        if self._refused or self._answer_repeated(data):
            return
        self._whole_request = data if self._between_requests else b""
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        super().on_message_begin()
        self._between_requests = False

    def on_message_complete(self) -> None:
        """Answer the request if it is small, and keep its head."""
        super().on_message_complete()
        self._between_requests = True
        if self._pending_answer is not None:
            answer, self._pending_answer = self._pending_answer, None
            self._answer(self.cycle, answer)
            if self._whole_request and self.cycle.keep_alive:
                scope, length = cast(Scope, self.cycle.scope), len(self.cycle.body)
                self._last_head = CachedHead.parse(self._whole_request, scope, answer, length)
                self.table.head = self._last_head or self.table.head
        self._whole_request = b""

    def _answer_repeated(self, data: bytes) -> bool:
        """Answer or refuse a request with a known head; False if it has to be parsed."""
        table, head = self.table, self._last_head or self.table.head
        if head is None or not self._between_requests or not self._is_free():
            return False
        body = head.match(data)
        if body is None or self.flow.write_paused or table.draining:
            return False
        if self._last_head is None:
            self._last_head = head = head.move(self.client, self.server)
        if self._is_overloaded():
            self._reading_since = None
            self._refuse_request(head.scope["path"], closing=False)
            return True
        cycle = TasklessCycle()
        if not head.answer(head.scope, body, partial(self._send_reply, cycle)):
            return False
        self.cycle = cycle  # type: ignore[assignment]
        self._reading_since = self._idle_since = None
        table.small_requests += 1
        return True

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Start a request: with a task only if it is not small."""
        answer = None
        if not cycle.waiting_for_100_continue:
            answer = self.table.responder.find_answer(cast(Scope, cycle.scope))
        if answer is None:
            super()._start_asgi_task(cycle, app)
        elif cycle.more_body:
            self._pending_answer = answer
        else:
            self._answer(cycle, answer)

    def _answer(self, cycle: RequestResponseCycle, answer: AnswerSmall) -> None:
        scope, body = cast(Scope, cycle.scope), bytes(cycle.body)
        send = partial(self._send_reply, cycle)
        if self.flow.write_paused or not answer(scope, body, send):
            super()._start_asgi_task(cycle, self.app)
        else:
            self.table.small_requests += 1

    def _send_reply(
        self, cycle: RequestResponseCycle | TasklessCycle, reply: Reply, request_id: Header
    ) -> None:
        self.table.small_requests -= 1
        if cycle.disconnected:
            return
        closing = not cycle.keep_alive
        headers = (*self.server_state.default_headers, *(CLOSE if closing else ()))
        constant = self.table.responder.headers
        self.transport.write(encode_reply(reply, constant, headers, request_id))
        cycle.response_started = cycle.response_complete = True
        if closing:
            self.transport.close()
        self.on_response_complete()


def create_protocol(limits: ClientLimits, responder: Responder) -> type[ServerProtocol]:
    """Create the protocol class of one server, for uvicorn's `http` setting.

    Args:
        limits: Limits on its clients.
        responder: Answers small requests, and words refusals.
    """
    table = ConnectionTable(limits, responder)
    return type("BoundProtocol", (ServerProtocol,), {"table": table})
