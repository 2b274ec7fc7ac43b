"""Outermost middleware: access, counts, request ids, security headers, and the log on request.

It calls the routes that ask the model directly; every other path goes to FastAPI.
"""

import asyncio
import itertools
import json
import secrets
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TextIO

from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.errors import RequestError
from serve.http.access import AccessPolicy
from serve.http.body import may_be_large
from serve.http.headers import (
    REQUEST_ID,
    SECURITY_HEADERS,
    Header,
    Headers,
    read_headers,
    read_request_id,
)
from serve.http.inference import InferenceRoute
from serve.http.metrics import OTHER_ROUTE, Metrics
from serve.http.responses import Reply, create_error_response, create_transport_refusal

_ADMITTED = "tuneport.admitted"
"""Scope key of a request that passed access control, as does each repetition of its head."""
SendReply = Callable[[Reply, Header], None]
"""Sends a reply with one header more, which names the request."""


class RequestMiddleware:
    """Admit, count, name and log every request; as the transport's responder, also small ones.

    It is a `serve.server.responder.Responder`.
    """

    headers: tuple[Header, ...] = SECURITY_HEADERS
    """Headers of every reply."""

    def __init__(
        self,
        app: ASGIApp,
        access: AccessPolicy,
        metrics: Metrics,
        routes: Sequence[InferenceRoute],
        *,
        framework_routes: Sequence[Route] = (),
        log: TextIO | None = None,
    ) -> None:
        self._app = app
        self._access = access
        self._metrics = metrics
        self._plain = {route.path: route for route in routes if "{" not in route.path}
        self._patterns = [route for route in routes if "{" in route.path]
        self._framework_paths = {route.path for route in framework_routes if "{" not in route.path}
        self._framework_patterns = [route for route in framework_routes if "{" in route.path]
        self._log = log
        self._id_prefix = secrets.token_hex(6).encode()
        self._id_numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        headers = read_headers(scope)
        request_id = self._request_id(headers)
        own_headers = (*SECURITY_HEADERS, (REQUEST_ID, request_id))
        status = 500

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                nonlocal status
                status = message["status"]
                message["headers"] = [*message["headers"], *own_headers]
            await send(message)

        route, label = self._find_route(scope)
        self._metrics.start_request()
        try:
            try:
                self._access.check(scope, headers)
            except RequestError as error:
                await create_error_response(scope, error)(scope, receive, send_with_headers)
            else:
                await route(scope, receive, send_with_headers)
        finally:
            self._finish(scope, label, request_id, status, start)

    def find_answer(self, scope: Scope) -> Callable[[Scope, bytes, SendReply], bool] | None:
        """Return the function that answers this request without a task, if it is a small one."""
        if scope["method"] != "POST":
            return None
        headers = read_headers(scope)
        if b"upgrade" in headers or may_be_large(headers):
            return None
        route, _ = self._find_route(scope)
        return partial(self._answer_small, route) if isinstance(route, InferenceRoute) else None

    def refuse(self, path: str, status: int, sentence: str) -> Reply:
        """Count a request that the transport refuses, and return the reply to it."""
        _, label = self._find_route({"path": path, "method": "POST"})
        self._metrics.start_request()
        self._metrics.finish_request(label, status, 0.0)
        return create_transport_refusal(path, status, sentence)

    def _answer_small(
        self, route: InferenceRoute, scope: Scope, body: bytes, send: SendReply
    ) -> bool:
        start = time.perf_counter()
        headers = read_headers(scope)
        request_id = self._request_id(headers)

        def finish(reply: Reply) -> None:
            self._finish(scope, route.path, request_id, reply.status, start)
            send(reply, (REQUEST_ID, request_id))

        try:
            if _ADMITTED not in scope:
                self._access.check(scope, headers)
                scope[_ADMITTED] = True
        except RequestError as error:
            reply = Reply.from_response(create_error_response(scope, error))
            asyncio.get_running_loop().call_soon(finish, reply)
        else:
            if not route.answer_small(scope, body, finish):
                return False
        self._metrics.start_request()
        return True

    def _finish(
        self, scope: Scope, label: str, request_id: bytes, status: int, start: float
    ) -> None:
        seconds = time.perf_counter() - start
        self._metrics.finish_request(label, status, seconds)
        if self._log is not None:
            _write_line(self._log, scope, request_id, status, seconds)

    def _find_route(self, scope: Scope) -> tuple[ASGIApp, str]:
        """Return the application for a request, and the route by which it is counted."""
        path: str = scope["path"]
        plain = self._plain.get(path)
        if plain is not None:
            # FastAPI answers other methods.
            return (plain if scope["method"] == "POST" else self._app), path
        if path in self._framework_paths:
            return self._app, path
        for route in self._patterns:
            match = route.pattern.fullmatch(path)
            if match is not None:
                scope["path_params"] = match.groupdict()
                return (route if scope["method"] == "POST" else self._app), route.path
        for framework_route in self._framework_patterns:
            if framework_route.path_regex.fullmatch(path) is not None:
                return self._app, framework_route.path
        return self._app, OTHER_ROUTE

    def _request_id(self, headers: Headers) -> bytes:
        """Return the client's request id, or a new one."""
        return read_request_id(headers) or b"%b-%x" % (self._id_prefix, next(self._id_numbers))


def _write_line(log: TextIO, scope: Scope, request_id: bytes, status: int, seconds: float) -> None:
    client = scope.get("client")
    line = {
        "time": time.time(),
        "id": request_id.decode("latin-1"),
        "client": client[0] if client else None,
        "method": scope["method"],
        "path": scope["path"][:200],
        "status": status,
        "ms": round(seconds * 1000, 3),
    }
    log.write(f"{json.dumps(line)}\n")
    log.flush()
