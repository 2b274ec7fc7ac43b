"""The routes that ask the model, as plain ASGI: a framework would cost more than a small model.

Heads are parsed in `invocation`, which chooses how a body is decoded and its reply encoded.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import lru_cache, partial

import numpy as np
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.errors import OverloadedError, RequestError
from serve.formats.requests import InferRequest, InferResponse
from serve.http.body import RequestLimiter, read_body
from serve.http.headers import Header
from serve.http.invocation import PARSERS, Invocation, Parser
from serve.http.metrics import Metrics
from serve.http.responses import (
    BODY_ENDED,
    SERVER_FAILED,
    Reply,
    create_error_reply,
    create_refusal,
)
from serve.rollout.registry import Registry
from serve.runtime.backend import Backend
from serve.runtime.worker_threads import WorkerThreads, run_in_thread

LARGE_REQUESTS = 1
"""Large bodies in work at once, from decoding to encoding: each may take tens of megabytes."""
INLINE_VALUES = 4096
"""Up to so many outputs are encoded on the event loop, more in a thread."""

OVERLOAD_PAUSE_SECONDS = 0.03
"""Until a refused connection is read again: clients that ask at once would take others' time."""


class Inference:
    """Answers requests by the current model."""

    def __init__(
        self, registry: Registry, metrics: Metrics, *, wait_s: float, max_requests: int
    ) -> None:
        self._registry = registry
        self._metrics = metrics
        self._wait_s = wait_s
        self._requests = RequestLimiter(max_requests)
        self._large = WorkerThreads(LARGE_REQUESTS)

    def routes(self) -> Mapping[str, ASGIApp]:
        """Create the ASGI application of each route that asks the model."""
        return {path: partial(self._answer, parse) for path, parse in PARSERS.items()}

    async def _answer(self, parse: Parser, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or say why not."""
        # No await lies between this and the parser's own look at the current model.
        version = (b"x-model-version", self._registry.version.encode())
        failure: Exception | None = None
        try:
            self._requests.check(scope)  # Before anything else, as a refusal has to be cheap.
            reply = await self._create_reply(parse(self._registry, scope), scope, receive)
        except RequestError as error:
            # Its traceback and a thread's future hold each other, and the body with them.
            failure = error.with_traceback(None)
            reply = create_error_reply(scope, error)
        except ClientDisconnect:
            reply = create_refusal(scope, 400, BODY_ENDED)
        except Exception as error:
            failure = error
            reply = create_refusal(scope, 500, SERVER_FAILED)
        reply.headers.append(version)
        await reply(scope, receive, send)
        if isinstance(failure, OverloadedError):
            # The server reads no further request of the connection until this returns.
            await asyncio.sleep(OVERLOAD_PAUSE_SECONDS)
        elif failure is not None and not isinstance(failure, RequestError):
            raise failure  # Uvicorn logs the traceback.

    async def _create_reply(self, invocation: Invocation, scope: Scope, receive: Receive) -> Reply:
        backend = invocation.backend
        with backend.keep_open():
            body = await read_body(scope, receive)
            with self._requests.slot(scope):
                if invocation.decodes_quickly(body):
                    response = await self._respond(backend, invocation.decode(body))
                else:
                    async with self._large.turn(self._wait_s):
                        if await Request(scope, receive).is_disconnected():
                            raise ClientDisconnect
                        decode = partial(invocation.decode, body)
                        del body
                        response = await self._respond_large(backend, decode)
        self._metrics.count_inputs(response.inputs)
        headers = _create_headers(response.media_type, response.scale)
        headers = [*headers, *response.headers, *invocation.headers]
        return Reply(headers, response.body, response.status)

    async def _respond(self, backend: Backend, request: InferRequest) -> InferResponse:
        outputs = await backend.infer(request.inputs, self._wait_s)
        if np.size(outputs) <= INLINE_VALUES:
            return request.respond(outputs)
        async with self._large.turn(self._wait_s):
            return await run_in_thread(partial(request.respond, outputs))

    async def _respond_large(
        self, backend: Backend, decode: Callable[[], InferRequest]
    ) -> InferResponse:
        """Decode, infer and encode in threads, while no other large body is in work."""
        request = await run_in_thread(decode)
        outputs = await backend.infer(request.inputs, self._wait_s)
        return await run_in_thread(partial(request.respond, outputs))


@lru_cache(maxsize=64)
def _create_headers(media_type: str, scale: str | None) -> list[Header]:
    # As a raw header, the type stays as it was negotiated, without a charset.
    headers = [(b"content-type", media_type.encode())]
    return headers if scale is None else [*headers, (b"x-input-scale", scale.encode())]
