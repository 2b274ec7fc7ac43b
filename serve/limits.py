"""Who may send what: the hosts that are served, the sites that may ask, the size of a body."""

import re
from collections.abc import Collection
from typing import NoReturn
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.errors import CrossSiteError, MisdirectedError, RequestError, TooLargeError
from serve.replies import error_reply

MAX_BODY = 6 * 1024 * 1024
"""The largest body in bytes; SageMaker's own limit."""
DRAINED = 32 * 1024 * 1024
"""How much of a body too large is still read, and dropped, so that its sender reads the reply."""
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; object-src 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::\d{1,5})?")


class Limits:
    """Middleware that refuses what no route should see, and guards every reply."""

    def __init__(self, app: ASGIApp, hosts: Collection[str] | None = None) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _LimitedBody(receive)
        guarded = _guarded(send)
        try:
            self._admit(scope)
            await body.check(Headers(scope=scope))
        except RequestError as error:
            await error_reply(scope, error)(scope, receive, guarded)
        else:
            await self._app(scope, body.receive, guarded)

    def _admit(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if self._hosts is not None:
            _check_host(headers.getlist("host"), self._hosts)
        _check_site(scope["method"], headers)


class _LimitedBody:
    """A request's body, counted as it comes."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._received = 0

    async def check(self, headers: Headers) -> None:
        """Refuse a body whose declared length is too much."""
        declared = headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > MAX_BODY:
            await self._refuse(f"{declared} bytes", more=int(declared) <= DRAINED)

    async def receive(self) -> Message:
        """The next part of the body, as long as all of them are within the limit."""
        message = await self._receive()
        self._received += len(message.get("body", b""))
        if self._received > MAX_BODY:
            await self._refuse("more", more=message.get("more_body", False))
        return message

    async def _refuse(self, came: str, *, more: bool) -> NoReturn:
        # Closing on a client that still writes would reset the connection under the reply.
        while more and self._received <= DRAINED:
            message = await self._receive()
            self._received += len(message.get("body", b""))
            more = message.get("more_body", False)
        raise TooLargeError(f"the body may have at most {MAX_BODY} bytes, got {came}")


def _check_host(hosts: list[str], allowed: Collection[str]) -> None:
    match = _HOST.fullmatch(hosts[0].lower()) if len(hosts) == 1 else None
    if match is None or match[1] not in allowed:
        raise MisdirectedError(
            f"the host {', '.join(hosts)[:80]!r} is not served here; "
            f"ask for {', '.join(sorted(allowed))}"
        )


def _check_site(method: str, headers: Headers) -> None:
    """Refuse what another site's page sends; following a link to a page is no such thing."""
    followed = method == "GET" and headers.get("sec-fetch-mode") == "navigate"
    if headers.get("sec-fetch-site") == "cross-site" and not followed:
        raise CrossSiteError("the request comes from another site's page, which may not ask here")
    origin = headers.get("origin")
    if origin is None or method in {"GET", "HEAD"}:
        return
    if urlsplit(origin).netloc.lower() != headers.get("host", "").lower():
        raise CrossSiteError(f"the request comes from {origin[:80]!r}, which may not ask here")


def _guarded(send: Send) -> Send:
    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return guarded
