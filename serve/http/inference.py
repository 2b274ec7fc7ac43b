"""The routes that ask the model, as plain ASGI: a framework would cost more than a small model.

Heads are parsed in `invocation`, which chooses how a body is decoded and its reply encoded.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import lru_cache, partial

import anyio
from anyio import CapacityLimiter, to_thread
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.errors import DeadlineError, RequestError
from serve.formats.requests import InferResponse
from serve.http.body import INLINE_BYTES, LargeBodyLimiter, read_body
from serve.http.headers import Header, read_headers
from serve.http.invocation import PARSERS, Invocation
from serve.http.metrics import Metrics
from serve.http.responses import (
    BODY_ENDED,
    SERVER_FAILED,
    Reply,
    create_error_response,
    create_refusal,
)
from serve.rollout.registry import Registry
from serve.runtime.backend import Backend
from serve.runtime.batcher import Outputs


class InferenceRoute:
    """One route that asks the model; its ASGI application answers or says why not."""

    def __init__(
        self, path: str, parse: Callable[[Scope], Invocation], inference: "Inference"
    ) -> None:
        self.path = path
        self.pattern = re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path)))
        self._parse = parse
        self._inference = inference

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        # No await lies between this and the parser's own look at the current model.
        version = self._inference.version
        response: ASGIApp
        try:
            response = await self._inference.answer(self._parse(scope), scope, receive)
        except RequestError as error:
            response = _add_version(create_error_response(scope, error), version)
        except ClientDisconnect:
            response = _add_version(create_refusal(scope, 400, BODY_ENDED), version)
        except Exception:  # Uvicorn logs the traceback.
            refusal = _add_version(create_refusal(scope, 500, SERVER_FAILED), version)
            await refusal(scope, receive, send)
            raise
        await response(scope, receive, send)

    def answer_small(self, scope: Scope, body: bytes, send: Callable[[Reply], None]) -> bool:
        """Answer a small request without a task; False if it needs one.

        `send` gets the reply in a later turn of the event loop.
        """
        version = self._inference.version

        def fail(error: Exception) -> None:
            send(_create_failure(scope, error, version))

        try:
            invocation = self._parse(scope)
            if not invocation.runs_inline:
                return False
            self._inference.answer_small(invocation, body, send, fail)
        except Exception as error:
            asyncio.get_running_loop().call_soon(fail, error)
        return True


class Inference:
    """Answers requests by the current model."""

    def __init__(self, registry: Registry, metrics: Metrics, *, wait_s: float) -> None:
        self._registry = registry
        self._metrics = metrics
        self._wait_s = wait_s
        self._limiters: dict[int, CapacityLimiter] = {}
        self._large_bodies = LargeBodyLimiter()

    @property
    def version(self) -> str:
        """Version of the current model."""
        return self._registry.version

    def routes(self) -> list[InferenceRoute]:
        """Create the routes that ask the model."""
        return [
            InferenceRoute(path, partial(parse, self._registry), self)
            for path, parse in PARSERS.items()
        ]

    async def answer(self, invocation: Invocation, scope: Scope, receive: Receive) -> Reply:
        """Read the body of a request and answer it."""
        backend = invocation.backend
        with backend.keep_open():
            with self._large_bodies.slot(read_headers(scope)):
                body = await read_body(scope, receive)
                if invocation.runs_inline and len(body) <= INLINE_BYTES:
                    response = _infer(invocation, body)
                else:
                    infer = partial(_infer, invocation, body)
                    async with _acquire(self._limiter(backend), self._wait_s):
                        # A server that ends does not wait for an answer that does not come.
                        response = await to_thread.run_sync(infer, abandon_on_cancel=True)
            return self._create_reply(response, invocation)

    def answer_small(
        self,
        invocation: Invocation,
        body: bytes,
        send: Callable[[Reply], None],
        fail: Callable[[Exception], None],
    ) -> None:
        """Call `send` with the reply once the network has run, or `fail` with the error."""
        batcher = invocation.backend.batcher
        assert batcher is not None  # runs_inline says so
        request = invocation.decode(body)

        def finish(outputs: Outputs) -> None:
            try:
                if isinstance(outputs, Exception):
                    raise outputs
                reply = self._create_reply(request.respond(outputs), invocation)
            except Exception as error:
                fail(error)
            else:
                send(reply)

        deadline = asyncio.get_running_loop().time() + self._wait_s
        batcher.submit(request.inputs, deadline, finish)

    def _limiter(self, backend: Backend) -> CapacityLimiter:
        """Return the limiter of a concurrency; a model and its successor share it."""
        number = backend.max_concurrency
        return self._limiters.setdefault(number, CapacityLimiter(number))

    def _create_reply(self, response: InferResponse, invocation: Invocation) -> Reply:
        self._metrics.count_inputs(response.inputs)
        version = invocation.backend.manifest.version
        headers = _answer_headers(response.media_type, version, response.scale)
        all_headers = [*headers, *response.headers, *invocation.headers]
        return Reply(all_headers, response.body, response.status)


@lru_cache(maxsize=64)
def _answer_headers(media_type: str, version: str, scale: str | None) -> list[Header]:
    # As a raw header, the type stays as it was negotiated, without a charset.
    headers = [(b"content-type", media_type.encode()), (b"x-model-version", version.encode())]
    return headers if scale is None else [*headers, (b"x-input-scale", scale.encode())]


@asynccontextmanager
async def _acquire(limiter: CapacityLimiter, wait_s: float) -> AsyncIterator[None]:
    """Acquire a token for the block; raises DeadlineError if none is free in time."""
    with anyio.move_on_after(wait_s) as scope:
        await limiter.acquire()
    if scope.cancelled_caught:
        raise DeadlineError(f"the request waited {wait_s:g} seconds for its turn")
    try:
        yield
    finally:
        limiter.release()


def _create_failure(scope: Scope, error: Exception, version: str) -> Reply:
    if isinstance(error, RequestError):
        return Reply.from_response(_add_version(create_error_response(scope, error), version))
    logging.getLogger("uvicorn.error").error("a request failed", exc_info=error)
    return Reply.from_response(_add_version(create_refusal(scope, 500, SERVER_FAILED), version))


def _add_version(response: Response, version: str) -> Response:
    response.headers["x-model-version"] = version
    return response


def _infer(invocation: Invocation, body: bytes) -> InferResponse:
    request = invocation.decode(body)
    return request.respond(invocation.backend.infer(request.inputs))
