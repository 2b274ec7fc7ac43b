"""What stands before Ray Serve's own HTTP server: the limits and the manners of ours.

Ray asks for it by the environment of its proxies (`environment`), and calls `middlewares` there. A
request whose replica is lost is asked once more, and what Ray refuses is said as we say it.
"""

import json
import logging
import os
import secrets
from dataclasses import asdict, dataclass
from typing import Any

import uvicorn.config
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.server import ServerState

from serve.errors import (
    DeadlineError,
    NotFoundError,
    NotReadyError,
    OverloadedError,
    RequestError,
    TooLargeError,
)
from serve.http.access import AccessPolicy
from serve.http.body import MAX_BODY_BYTES, LargeBodyLimiter, read_body
from serve.http.headers import (
    REQUEST_ID,
    SCOPE_KEY,
    SECURITY_HEADERS,
    read_headers,
    read_request_id,
)
from serve.http.metrics import Metrics
from serve.http.middleware import RequestMiddleware
from serve.http.responses import BODY_ENDED, create_error_response, create_refusal
from serve.server.small_requests import create_protocol
from serve.settings import Allowance

SETTINGS = "TUNEPORT_GATEWAY"
TRIES = 2
"""How often a request is given to a replica: once more where the first one is lost."""
ROUTES = "/-/routes"
"""Where Ray tells strangers what is deployed."""
MARK = SECURITY_HEADERS[1][0]
"""What every reply of ours has, and no reply of Ray's."""
ORDERS = frozenset(
    {
        b"serve-multiplexed-model-id",
        b"x-request-disconnect-disabled",
        b"x-request-timeout-seconds",
        b"x-session-id",
    }
)
"""Headers by which clients could tell Ray how to treat them; with `-` for `_`."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """What the gateway has to keep to."""

    allowance: Allowance
    timeout_s: float
    """Seconds after which Ray gives a request up."""


def environment(limits: Limits) -> dict[str, str]:
    """The environment in which Ray's proxies have this gateway."""
    return {
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": f"{__name__}.{middlewares.__name__}",
        SETTINGS: json.dumps(asdict(limits)),
        # Nobody's word is taken for whose address a request comes from.
        "FORWARDED_ALLOW_IPS": "",
    }


def middlewares() -> list[Middleware]:
    """Called by Ray in a proxy, before its server starts."""
    values = json.loads(os.environ[SETTINGS])
    limits = Limits(Allowance(**values["allowance"]), values["timeout_s"])
    # It has no routes, so that the transport answers nothing itself; its counts are not published.
    responder = RequestMiddleware(_nobody, AccessPolicy(), Metrics(), routes=())
    bound_protocol = create_protocol(limits.allowance, responder)
    protocol = type("ProxyProtocol", (_Nameless, bound_protocol), {})
    protocols: dict[str, Any] = uvicorn.config.HTTP_PROTOCOLS
    protocols["auto"] = protocol
    return [Middleware(Gateway, limits)]


class _Nameless:
    """A connection whose replies do not say which server this is."""

    def __init__(
        self, config: uvicorn.Config, server_state: ServerState, *arguments: Any, **named: Any
    ) -> None:
        for headers in (config.encoded_headers, server_state.default_headers):
            headers[:] = [pair for pair in headers if pair[0] != b"server"]
        super().__init__(config, server_state, *arguments, **named)  # type: ignore[call-arg]


class Gateway:
    """The outermost application of a proxy."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app = app
        self._limits = limits
        self._large_bodies = LargeBodyLimiter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        headers = read_headers(scope)
        name = read_request_id(headers) or secrets.token_hex(8).encode()
        try:
            with self._large_bodies.slot(headers):
                await self._asked(_cleaned(scope, name), receive, send)
        except RequestError as error:
            await _say(create_error_response(scope, error), name, scope, receive, send)
        except ClientDisconnect:
            await _say(create_refusal(scope, 400, BODY_ENDED), name, scope, receive, send)

    async def _asked(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == ROUTES:
            raise NotFoundError(f"there is no route {ROUTES!r}; /docs lists them")
        try:
            body = await read_body(scope, receive)
        except TooLargeError:
            # A replica says so, if it lets the request in and has the route.
            scope, body = _declared_too_large(scope), b""
        for _ in range(TRIES):
            exchange = _Exchange(body, receive, send)
            # Ray pickles the scope for the replica, and changes it.
            await self._app(_copied(scope), exchange.receive, exchange.send)
            if exchange.refused is not None:
                raise self._refusal(exchange.refused)
            if exchange.begun or exchange.gone:
                return
            log.warning("a replica was lost over a request to %s", scope["path"])
        raise NotReadyError("the replica that worked on this request was lost; ask again")

    def _refusal(self, status: int) -> RequestError:
        """What Ray refused, in our words."""
        if status == DeadlineError.status or status == 408:
            return DeadlineError(
                f"the request was not answered within {self._limits.timeout_s:g} seconds"
            )
        if status == NotFoundError.status:
            return NotReadyError("the endpoint ends, or has not begun; ask again")
        return OverloadedError("every replica has as many requests as it may have; ask again")


class _Exchange:
    """One try to have a request answered."""

    def __init__(self, body: bytes, receive: Receive, send: Send) -> None:
        self._body: bytes | None = body
        self._receive = receive
        self._send = send
        self.begun = False
        """Whether the client has a reply, or its beginning."""
        self.gone = False
        """Whether the client is gone."""
        self.refused: int | None = None
        """The status by which Ray itself refused the request."""

    async def receive(self) -> Message:
        """The body, whole, and then what the client does."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        message = await self._receive()
        self.gone = message["type"] == "http.disconnect"
        return message

    async def send(self, message: Message) -> None:
        """Pass a reply on, unless it is Ray's refusal."""
        if message["type"] == "http.response.start":
            headers = [(bytes(name), bytes(value)) for name, value in message["headers"]]
            if MARK not in dict(headers):
                headers += SECURITY_HEADERS
                if message["status"] >= 400:
                    self.refused = message["status"]
                    return
            message = {**message, "headers": _named_once(headers)}
            self.begun = True
        if self.refused is None:
            await self._send(message)


def _cleaned(scope: Scope, name: bytes) -> Scope:
    """The request under one name, without what would give Ray orders."""
    kept = [
        pair
        for pair in scope["headers"]
        if pair[0] != REQUEST_ID and pair[0].replace(b"_", b"-") not in ORDERS
    ]
    return {**scope, "headers": [*kept, (REQUEST_ID, name)]}


def _declared_too_large(scope: Scope) -> Scope:
    """The request with the length of a body too large, in place of chunks."""
    kept = [pair for pair in scope["headers"] if pair[0] != b"transfer-encoding"]
    if b"content-length" not in dict(kept):
        kept.append((b"content-length", b"%d" % (MAX_BODY_BYTES + 1)))
    return {**scope, "headers": kept}


def _copied(scope: Scope) -> Scope:
    """The request for Ray, which adds to its headers: without what we noted of them."""
    copied = {**scope, "headers": list(scope["headers"])}
    copied.pop(SCOPE_KEY, None)
    return copied


def _named_once(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Headers with the request's name once, to which Ray adds its own."""
    names = [pair for pair in headers if pair[0] == REQUEST_ID][:1]
    return [*(pair for pair in headers if pair[0] != REQUEST_ID), *names]


async def _say(response: ASGIApp, name: bytes, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a reply of the gateway's own, with what every reply of ours has."""

    async def noted(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *SECURITY_HEADERS, (REQUEST_ID, name)]
        await send(message)

    await response(scope, receive, noted)


async def _nobody(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("connections ask the gateway itself")
