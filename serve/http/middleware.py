"""The one middleware: access, counts, request ids, security headers and HEAD.

It calls the routes that ask the model directly; every other path goes to FastAPI.
"""

import itertools
import secrets
import time
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.errors import RequestError
from serve.http.access import AccessPolicy
from serve.http.headers import (
    REQUEST_ID,
    SECURITY_HEADERS,
    Header,
    Headers,
    read_headers,
    read_request_id,
)
from serve.http.invocation import find_route
from serve.http.metrics import OTHER_ROUTE, Metrics
from serve.http.responses import create_error_reply, create_transport_refusal

_ROUTE = "tuneport.route"
"""Key of the route that asks the model in a request's scope; None where it asks another."""


class RequestMiddleware:
    """Admit, count and name every request."""

    def __init__(
        self,
        app: ASGIApp,
        access: AccessPolicy,
        metrics: Metrics,
        model_routes: Mapping[str, ASGIApp],
        root_path: str = "",
    ) -> None:
        self._app = app
        self._access = access
        self._respond = access.answer_origins(self._admit)
        self._root = f"{root_path}/" if root_path else None
        self._metrics = metrics
        self._model_routes = model_routes
        self._id_prefix = secrets.token_hex(6).encode()
        self._id_numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        method = scope["method"]
        request_id = self._request_id(read_headers(scope))
        status = 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"], *SECURITY_HEADERS, (REQUEST_ID, request_id),
                ]  # fmt: skip
            elif method == "HEAD":
                message["body"] = b""
            await send(message)

        if self._root is not None and scope["path"].startswith(self._root):
            scope["path"] = scope["path"][len(self._root) - 1 :]
        if method == "HEAD":  # It is answered as GET, without the body.
            scope = {**scope, "method": "GET"}
        route = scope[_ROUTE] = find_route(scope)
        self._metrics.start_request()
        try:
            await self._respond(scope, receive, send_with_headers)
        finally:
            seconds = time.perf_counter() - start
            self._metrics.finish_request(route or _framework_route(scope), status, seconds)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check that the request may be answered, and have its route answer it."""
        route = scope[_ROUTE]
        app = self._app
        if route is not None and scope["method"] == "POST":
            app = self._model_routes[route]
        try:
            self._access.check(scope, read_headers(scope))
            await app(scope, receive, send)
        except RequestError as error:
            await create_error_reply(scope, error)(scope, receive, send)

    def refuse(self, status: int, sentence: str) -> tuple[tuple[Header, ...], bytes]:
        """Count a request that the transport refuses; return the reply's headers and body."""
        self._metrics.start_request()
        self._metrics.finish_request(OTHER_ROUTE, status, 0.0)
        return create_transport_refusal(status, sentence)

    def _request_id(self, headers: Headers) -> bytes:
        """Return the client's request id, or a new one."""
        return read_request_id(headers) or b"%b-%x" % (self._id_prefix, next(self._id_numbers))


def _framework_route(scope: Scope) -> str:
    """Return the route that the framework has found, so that a scan creates no new series."""
    return getattr(scope.get("route"), "path", OTHER_ROUTE)
