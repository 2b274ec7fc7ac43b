"""The routes that ask the model, as plain ASGI: a framework would cost more than a small model.

Heads are parsed in `invocation`; a script's handlers answer by `handler_messages`.
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
from serve.http import handler_messages
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
from serve.runtime.backend import Answer, Service
from serve.runtime.batcher import Outputs
from serve.runtime.script_backend import ModelProcess

THREADS = 2
"""Large bodies decoded at once; each may take a hundred megabytes."""


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
        self._network_limiter = CapacityLimiter(THREADS)
        # Handlers take one request at a time; the others wait here.
        self._handlers_limiter = CapacityLimiter(1)
        self._large_bodies = LargeBodyLimiter()

    @property
    def version(self) -> str:
        """Version of the current model."""
        return self._registry.current.version

    def routes(self) -> list[InferenceRoute]:
        """Create the routes that ask the model."""
        return [
            InferenceRoute(path, partial(parse, self._registry), self)
            for path, parse in PARSERS.items()
        ]

    async def answer(self, invocation: Invocation, scope: Scope, receive: Receive) -> Reply:
        """Read the body of a request and answer it."""
        backend = invocation.model.asked
        if isinstance(backend, ModelProcess):
            reply = await self._call_handlers(backend, scope, receive)
            reply.headers.extend(invocation.headers)
            return reply
        answer = await self._run_network(invocation, backend, scope, receive)
        return self._create_reply(answer, invocation)

    def answer_small(
        self,
        invocation: Invocation,
        body: bytes,
        send: Callable[[Reply], None],
        fail: Callable[[Exception], None],
    ) -> None:
        """Call `send` with the reply once the network has run, or `fail` with the error."""
        assert invocation.decode is not None
        assert isinstance(invocation.model.asked, Service)  # runs_inline says both
        question = invocation.decode(body)

        def finish(outputs: Outputs) -> None:
            try:
                if isinstance(outputs, Exception):
                    raise outputs
                reply = self._create_reply(question.answer(outputs), invocation)
            except Exception as error:
                fail(error)
            else:
                send(reply)

        deadline = asyncio.get_running_loop().time() + self._wait_s
        invocation.model.asked.together.ask(question.inputs, deadline, finish)

    async def _run_network(
        self, invocation: Invocation, service: Service, scope: Scope, receive: Receive
    ) -> Answer:
        """Run the network on the event loop, or in a thread if that may take long."""
        with self._large_bodies.slot(read_headers(scope)):
            body = await read_body(scope, receive)
            run = partial(_decode_and_answer, invocation, service, body)
            if invocation.runs_inline and len(body) <= INLINE_BYTES:
                return run()
            async with _acquire(self._network_limiter, self._wait_s):
                return await to_thread.run_sync(run)

    async def _call_handlers(self, process: ModelProcess, scope: Scope, receive: Receive) -> Reply:
        """Pass the request as it came to the handlers, and return their answer."""
        headers = read_headers(scope)
        with process.held():
            with self._large_bodies.slot(headers):
                body = await read_body(scope, receive)
                message = handler_messages.create_message(headers, body)
                async with _acquire(self._handlers_limiter, self._wait_s):
                    # A server that ends does not wait for an answer that does not come.
                    answer = await to_thread.run_sync(process.ask, message, abandon_on_cancel=True)
            return handler_messages.create_reply(answer, process.manifest.version)

    def _create_reply(self, answer: Answer, invocation: Invocation) -> Reply:
        self._metrics.count_inputs(answer.inputs)
        headers = _answer_headers(answer.media_type, invocation.model.version, answer.scale)
        return Reply([*headers, *invocation.headers], answer.body)


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


def _decode_and_answer(invocation: Invocation, service: Service, body: bytes) -> Answer:
    assert invocation.decode is not None  # a network decodes its bodies
    return service.answer(invocation.decode(body))
