"""The routes that ask the model, as plain ASGI: a framework would cost more than a small model.

Heads are parsed in `invocation`, which chooses how a body is decoded and its reply encoded.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import TypeVar

import numpy as np
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.errors import OverloadedError, RequestError
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
from serve.runtime.worker_threads import WorkerThreads

CODING_THREADS = 2
"""Large bodies decoded or encoded at once: each may take a hundred megabytes."""
INLINE_VALUES = 4096
"""Up to so many outputs are encoded on the event loop, more in a thread."""

OVERLOAD_PAUSE_SECONDS = 0.1
"""Until a refused connection is read again: clients that ask at once would take others' time."""

A = TypeVar("A")
T = TypeVar("T")


class Inference:
    """Answers requests by the current model."""

    def __init__(
        self, registry: Registry, metrics: Metrics, *, wait_s: float, max_requests: int
    ) -> None:
        self._registry = registry
        self._metrics = metrics
        self._wait_s = wait_s
        self._requests = RequestLimiter(max_requests)
        self._threads = WorkerThreads(CODING_THREADS)

    def routes(self) -> Mapping[str, ASGIApp]:
        """Create the ASGI application of each route that asks the model."""
        return {path: partial(self._answer, parse) for path, parse in PARSERS.items()}

    async def _answer(self, parse: Parser, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or say why not."""
        # No await lies between this and the parser's own look at the current model.
        version = (b"x-model-version", self._registry.version.encode())
        try:
            reply = await self._create_reply(parse(self._registry, scope), scope, receive)
        except OverloadedError as error:
            reply = create_error_reply(scope, error)
            send = _pause_after(send)
        except RequestError as error:
            # Its traceback and a thread's future hold each other, and the body with them.
            reply = create_error_reply(scope, error.with_traceback(None))
        except ClientDisconnect:
            reply = create_refusal(scope, 400, BODY_ENDED)
        except Exception:  # Uvicorn logs the traceback.
            reply = create_refusal(scope, 500, SERVER_FAILED)
            reply.headers.append(version)
            await reply(scope, receive, send)
            raise
        reply.headers.append(version)
        await reply(scope, receive, send)

    async def _create_reply(self, invocation: Invocation, scope: Scope, receive: Receive) -> Reply:
        backend = invocation.backend
        with backend.keep_open():
            body = await read_body(scope, receive)
            is_quick = invocation.decodes_quickly(body)
            with self._requests.slot(scope):
                request = await self._call(invocation.decode, body, in_thread=not is_quick)
                outputs = await backend.infer(request.inputs, self._wait_s)
                is_quick = is_quick and np.size(outputs) <= INLINE_VALUES
                response = await self._call(request.respond, outputs, in_thread=not is_quick)
        self._metrics.count_inputs(response.inputs)
        headers = _create_headers(response.media_type, response.scale)
        headers = [*headers, *response.headers, *invocation.headers]
        return Reply(headers, response.body, response.status)

    async def _call(self, function: Callable[[A], T], argument: A, *, in_thread: bool) -> T:
        """Call a function: at once, or in a thread as it may take long."""
        if in_thread:
            return await self._threads.run(partial(function, argument), self._wait_s)
        return function(argument)


def _pause_after(send: Send) -> Send:
    """Wrap `send` so that a reply goes at once, and counts as complete after a pause.

    The server reads no further request of the connection until then.
    """

    async def send_and_pause(message: Message) -> None:
        if message["type"] != "http.response.body":
            await send(message)
            return
        await send({**message, "more_body": True})
        await asyncio.sleep(OVERLOAD_PAUSE_SECONDS)
        await send({"type": "http.response.body", "body": b""})

    return send_and_pause


@lru_cache(maxsize=64)
def _create_headers(media_type: str, scale: str | None) -> list[Header]:
    # As a raw header, the type stays as it was negotiated, without a charset.
    headers = [(b"content-type", media_type.encode())]
    return headers if scale is None else [*headers, (b"x-input-scale", scale.encode())]
