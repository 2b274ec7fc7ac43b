"""Middleware of Ray Serve's HTTP proxies: limits on bodies, a retry, and our error replies.

A request whose replica is lost is passed on once more. Replies that Ray makes itself are replaced
by ours.
"""

import logging
import secrets
from contextlib import nullcontext
from dataclasses import dataclass

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.errors import (
    DeadlineError,
    NotFoundError,
    NotReadyError,
    OverloadedError,
    RequestError,
    TooLargeError,
)
from serve.http.body import RequestLimiter, read_body
from serve.http.headers import (
    REQUEST_ID,
    SCOPE_KEY,
    SECURITY_HEADERS,
    Header,
    read_headers,
    read_request_id,
)
from serve.http.responses import BODY_ENDED, create_error_reply, create_refusal
from serve.settings import MAX_BODY_BYTES, ClientLimits

MAX_ATTEMPTS = 2
"""A request is passed to a second replica if the first is lost."""
RAY_ROUTES = "/-/routes"
"""Path at which Ray lists what is deployed."""
MARKER = SECURITY_HEADERS[1][0]
"""Header of every reply of ours, and of no reply that Ray makes itself."""
RAY_HEADERS = frozenset(
    {
        b"serve-multiplexed-model-id",
        b"x-request-disconnect-disabled",
        b"x-request-timeout-seconds",
        b"x-session-id",
    }
)
"""Headers that tell Ray how to treat a request; Ray also accepts `_` for `-`."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProxySettings:
    """Limits that a proxy enforces."""

    limits: ClientLimits
    timeout_s: float
    """Seconds after which Ray gives a request up."""


class ProxyMiddleware:
    """Outermost middleware of a proxy."""

    def __init__(self, app: ASGIApp, settings: ProxySettings) -> None:
        self._app = app
        self._settings = settings
        self._requests = RequestLimiter(settings.limits.max_requests)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request_id = read_request_id(read_headers(scope)) or secrets.token_hex(8).encode()
        try:
            await self._forward(_clean_scope(scope, request_id), receive, send)
        except RequestError as error:
            response = create_error_reply(scope, error)
            await _send_response(response, request_id, scope, receive, send)
        except ClientDisconnect:
            response = create_refusal(scope, 400, BODY_ENDED)
            await _send_response(response, request_id, scope, receive, send)

    async def _forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == RAY_ROUTES:
            raise NotFoundError(f"there is no route {RAY_ROUTES!r}; /docs lists them")
        try:
            body = await read_body(scope, receive)
        except TooLargeError:
            # The replica refuses it, unless it has another reason to refuse the request.
            scope, body = _declare_too_large(scope), b""
        with self._requests.slot(scope) if scope["method"] == "POST" else nullcontext():
            await self._ask_replicas(scope, body, receive, send)

    async def _ask_replicas(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        for _ in range(MAX_ATTEMPTS):
            attempt = _Attempt(body, receive, send)
            # Ray pickles the scope for the replica, and changes it.
            await self._app(_copy_scope(scope), attempt.receive, attempt.send)
            if attempt.ray_status is not None:
                raise self._translate(attempt.ray_status)
            if attempt.started or attempt.disconnected:
                return
            log.warning("a replica was lost over a request to %s", scope["path"])
        raise NotReadyError("the replica that worked on this request was lost; ask again")

    def _translate(self, status: int) -> RequestError:
        """Translate an error status of Ray's own into our error."""
        if status == DeadlineError.status or status == 408:
            return DeadlineError(
                f"the request was not answered within {self._settings.timeout_s:g} seconds"
            )
        if status == NotFoundError.status:
            return NotReadyError("the endpoint is starting or stopping; ask again")
        return OverloadedError("every replica has as many requests as it takes; ask again")


class _Attempt:
    """One attempt to have a request answered by a replica."""

    def __init__(self, body: bytes, receive: Receive, send: Send) -> None:
        self._body: bytes | None = body
        self._receive = receive
        self._send = send
        self.started = False
        """Whether the client has received the start of a reply."""
        self.disconnected = False
        """Whether the client is gone."""
        self.ray_status: int | None = None
        """Status of an error reply that Ray made itself."""

    async def receive(self) -> Message:
        """Return the whole body, then what the client does."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        message = await self._receive()
        self.disconnected = message["type"] == "http.disconnect"
        return message

    async def send(self, message: Message) -> None:
        """Pass a reply on unless it is Ray's own error."""
        if message["type"] == "http.response.start":
            headers = [(bytes(name), bytes(value)) for name, value in message["headers"]]
            if MARKER not in dict(headers):
                headers += SECURITY_HEADERS
                if message["status"] >= 400:
                    self.ray_status = message["status"]
                    return
            message = {**message, "headers": _deduplicate_id(headers)}
            self.started = True
        if self.ray_status is None:
            await self._send(message)


def _clean_scope(scope: Scope, request_id: bytes) -> Scope:
    """Give the request one id, and remove headers that give Ray orders."""
    kept = [
        pair
        for pair in scope["headers"]
        if pair[0] != REQUEST_ID and pair[0].replace(b"_", b"-") not in RAY_HEADERS
    ]
    return {**scope, "headers": [*kept, (REQUEST_ID, request_id)]}


def _declare_too_large(scope: Scope) -> Scope:
    """Replace a chunked body by the declared length of one too large."""
    kept = [pair for pair in scope["headers"] if pair[0] != b"transfer-encoding"]
    if b"content-length" not in dict(kept):
        kept.append((b"content-length", b"%d" % (MAX_BODY_BYTES + 1)))
    return {**scope, "headers": kept}


def _copy_scope(scope: Scope) -> Scope:
    """Copy the scope for Ray, which adds to its headers; our joined headers are left out."""
    copy = {**scope, "headers": list(scope["headers"])}
    copy.pop(SCOPE_KEY, None)
    return copy


def _deduplicate_id(headers: list[Header]) -> list[Header]:
    """Keep the first request id, which is ours; Ray adds its own."""
    first_id = [pair for pair in headers if pair[0] == REQUEST_ID][:1]
    return [*(pair for pair in headers if pair[0] != REQUEST_ID), *first_id]


async def _send_response(
    response: ASGIApp, request_id: bytes, scope: Scope, receive: Receive, send: Send
) -> None:
    """Send a response of the middleware itself, with the headers of every reply."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = (*SECURITY_HEADERS, (REQUEST_ID, request_id))
            message["headers"] = [*message["headers"], *own]
        await send(message)

    await response(scope, receive, send_with_headers)
