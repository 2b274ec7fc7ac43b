"""What every request passes first: it is let in, counted, named and, on request, logged.

The routes that ask the model are called right from here; everything else is FastAPI's.
"""

import asyncio
import itertools
import json
import secrets
import time
from collections.abc import Callable, Sequence
from typing import TextIO

from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.errors import RequestError
from serve.http.access import SECURITY_HEADERS, Gate
from serve.http.headers import ID, Headers, headers_of, sane_id
from serve.http.inference import ModelRoute
from serve.http.metrics import OTHER, Metrics
from serve.http.responses import Reply, error_reply

_ADMITTED = "tuneport.admitted"
"""What the scope of a request has in it that may be asked, as may all that begin so."""
SendReply = Callable[[Reply, bytes], None]
"""Takes a reply, and the request's id."""


class Front:
    """The outermost application of a server."""

    def __init__(
        self,
        app: ASGIApp,
        gate: Gate,
        metrics: Metrics,
        routes: Sequence[ModelRoute],
        *,
        others: Sequence[Route] = (),
        log: TextIO | None = None,
    ) -> None:
        self._app = app
        self._gate = gate
        self._metrics = metrics
        self._plain = {route.path: route for route in routes if "{" not in route.path}
        self._named = [route for route in routes if "{" in route.path]
        self._others = {route.path for route in others if "{" not in route.path}
        self._named_others = [route for route in others if "{" in route.path]
        self._log = log
        self._prefix = secrets.token_hex(6).encode()
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        headers = headers_of(scope)
        name = self._id(headers)
        ending = (*SECURITY_HEADERS, (ID, name))
        status = 500

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                nonlocal status
                status = message["status"]
                message["headers"] = [*message["headers"], *ending]
            await send(message)

        route, label = self._route(scope)
        self._metrics.started()
        try:
            try:
                self._gate.admit(scope, headers)
            except RequestError as error:
                await error_reply(scope, error)(scope, receive, noted)
            else:
                await route(scope, receive, noted)
        finally:
            self._ended(scope, label, name, status, began)

    def model_route(self, scope: Scope) -> ModelRoute | None:
        """The route that asks the model, if that is one."""
        route, _ = self._route(scope)
        return route if isinstance(route, ModelRoute) else None

    def answer_soon(self, route: ModelRoute, scope: Scope, body: bytes, send: SendReply) -> bool:
        """Answer a small request, which has come, without a task; false where it takes one.

        What is sent comes after the return, in a later turn of the event loop.
        """
        began = time.perf_counter()
        headers = headers_of(scope)
        name = self._id(headers)

        def done(answer: Reply) -> None:
            self._ended(scope, route.path, name, answer.status, began)
            send(answer, name)

        try:
            if _ADMITTED not in scope:
                self._gate.admit(scope, headers)
                scope[_ADMITTED] = True
        except RequestError as error:
            asyncio.get_running_loop().call_soon(done, Reply.of(error_reply(scope, error)))
        else:
            if not route.answer_soon(scope, body, done):
                return False
        self._metrics.started()
        return True

    def refused(self, path: str, status: int) -> None:
        """Count what was refused before it came here."""
        _, label = self._route({"path": path, "method": "POST"})
        self._metrics.started()
        self._metrics.ended(label, status, 0.0)

    def _ended(self, scope: Scope, label: str, name: bytes, status: int, began: float) -> None:
        seconds = time.perf_counter() - began
        self._metrics.ended(label, status, seconds)
        if self._log is not None:
            _write(self._log, scope, name, status, seconds)

    def _route(self, scope: Scope) -> tuple[ASGIApp, str]:
        """Who answers, and under which name it is counted."""
        path: str = scope["path"]
        plain = self._plain.get(path)
        if plain is not None:
            # Another method gets the framework's answer.
            return (plain if scope["method"] == "POST" else self._app), path
        if path in self._others:
            return self._app, path
        for route in self._named:
            match = route.pattern.fullmatch(path)
            if match is not None:
                scope["path_params"] = match.groupdict()
                return (route if scope["method"] == "POST" else self._app), route.path
        for other in self._named_others:
            if other.path_regex.fullmatch(path) is not None:
                return self._app, other.path
        return self._app, OTHER

    def _id(self, headers: Headers) -> bytes:
        """The id that the client has brought, or a new one."""
        return sane_id(headers) or b"%b-%x" % (self._prefix, next(self._numbers))


def _write(log: TextIO, scope: Scope, name: bytes, status: int, seconds: float) -> None:
    client = scope.get("client")
    line = {
        "time": time.time(),
        "id": name.decode("latin-1"),
        "client": client[0] if client else None,
        "method": scope["method"],
        "path": scope["path"][:200],
        "status": status,
        "ms": round(seconds * 1000, 3),
    }
    log.write(f"{json.dumps(line)}\n")
    log.flush()
