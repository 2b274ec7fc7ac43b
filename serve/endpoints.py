"""The routes that ask the model, as plain ASGI: what a framework adds costs more than the model."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import parse_qs

import anyio
from anyio import CapacityLimiter, to_thread
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serve import oip
from serve.channel import Message
from serve.codecs import CODECS, JSON
from serve.errors import (
    BadRequestError,
    DeadlineError,
    HandlerError,
    NotFoundError,
    OverloadedError,
    RequestError,
    UnsupportedTypeError,
)
from serve.headers import Headers, headers_of, returned, text
from serve.limits import read_body
from serve.metrics import Metrics
from serve.negotiation import acceptable, content_type
from serve.process import ModelProcess
from serve.registry import Model, Registry
from serve.replies import ALIAS_ROUTE, FAILED, Reply, error_reply, reply
from serve.service import Answer

INLINE_BYTES = 64 * 1024
"""Bodies up to this are answered on the event loop; larger ones in a thread, so that none waits."""
THREADS = 2
"""Large bodies worked on at once; each may take a hundred megabytes while it is read."""
LARGE_BODIES = 8
"""Large bodies held at once, those that wait for a thread included."""
FORWARDED = "x-amzn-sagemaker-"
"""How the names of headers begin that SageMaker hands to handlers and back."""
WITH_INPUT = "with_input"
"""The query's parameter by which each prediction brings its input, as the model was given it."""
TYPES = tuple(CODECS)
_VARIANT = (b"x-amzn-invoked-production-variant", b"AllTraffic")


class ModelRoute:
    """One route that asks the model: what it answers, or one sentence that says why not."""

    def __init__(
        self, path: str, answer: Callable[[Scope, Receive], Awaitable[Reply]], registry: Registry
    ) -> None:
        self.path = path
        self._registry = registry
        self.pattern = re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path)))
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        # Nothing comes between this and the route's own look at which model answers.
        version = self._registry.current.version
        found: ASGIApp
        try:
            found = await self._answer(scope, receive)
        except RequestError as error:
            found = _of_version(error_reply(scope, error), version)
        except ClientDisconnect:
            found = _of_version(reply(scope, 400, "the body ended before its length"), version)
        except Exception:  # The server writes its traceback to its own log.
            await _of_version(reply(scope, 500, FAILED), version)(scope, receive, send)
            raise
        await found(scope, receive, send)


class Endpoints:
    """What answers the routes that ask the model, whichever it is when a request comes."""

    def __init__(self, registry: Registry, metrics: Metrics, *, wait_s: float) -> None:
        self._registry = registry
        self._metrics = metrics
        self._wait_s = wait_s
        self._network_limiter = CapacityLimiter(THREADS)
        # Handlers take one request at a time; the others wait here.
        self._handlers_limiter = CapacityLimiter(1)
        self._large = 0

    def routes(self) -> list[ModelRoute]:
        """Every route that asks the model."""
        answers = {
            "/invocations": self._invoke,
            "/predict": self._predict,
            ALIAS_ROUTE: self._invoke_by_name,
            **dict.fromkeys(oip.INFER_ROUTES, self._infer),
        }
        return [ModelRoute(path, answer, self._registry) for path, answer in answers.items()]

    async def _invoke(self, scope: Scope, receive: Receive) -> Reply:
        return await self._invoked(self._registry.current, scope, receive)

    async def _invoke_by_name(self, scope: Scope, receive: Receive) -> Reply:
        name, model = scope["path_params"]["name"], self._registry.current
        if name != (served := model.manifest.name):
            raise NotFoundError(f"Endpoint {name[:80]} not found; {served} is served here.")
        found = await self._invoked(model, scope, receive)
        found.headers.append(_VARIANT)
        return found

    async def _invoked(self, model: Model, scope: Scope, receive: Receive) -> Reply:
        headers = headers_of(scope)
        _check_encoding(headers)
        given_back = returned(headers)
        if isinstance(model.asked, ModelProcess):
            return await self._handled(model.asked, scope, receive)
        kind = content_type(text(headers, b"content-type"), TYPES)
        accept = acceptable(text(headers, b"accept"), TYPES)
        ask = partial(model.asked.invoke, content_type=kind, accept=accept)
        answer = await self._answered(ask, scope, receive, inline=True)
        return _network_reply(answer, model, given_back)

    async def _predict(self, scope: Scope, receive: Receive) -> Reply:
        model, headers = self._registry.current, headers_of(scope)
        if isinstance(model.asked, ModelProcess):
            raise NotFoundError(
                "this model answers by handlers of its own, which take no drawings and know no "
                "labels; ask /invocations"
            )
        _check_encoding(headers)
        kind = content_type(text(headers, b"content-type"), model.asked.predict_types)
        acceptable(text(headers, b"accept"), (JSON,))
        ask = partial(model.asked.predict, content_type=kind, with_input=_with_input(scope))
        answer = await self._answered(ask, scope, receive, inline=kind == JSON)
        return _network_reply(answer, model, [])

    async def _infer(self, scope: Scope, receive: Receive) -> Reply:
        names, headers = scope["path_params"], headers_of(scope)
        model = oip.named(self._registry, names["name"], names.get("version"))
        if isinstance(model.asked, ModelProcess):
            raise NotFoundError(
                "this model answers by handlers of its own, whose tensors nobody knows; ask "
                "/invocations"
            )
        _check_encoding(headers)
        content_type(text(headers, b"content-type"), (JSON,))
        ask = partial(oip.infer, model.asked)
        answer = await self._answered(ask, scope, receive, inline=True)
        return _network_reply(answer, model, [])

    async def _answered(
        self, ask: Callable[[bytes], Answer], scope: Scope, receive: Receive, *, inline: bool
    ) -> Answer:
        """What a network answers to the body, here or, where it may take long, in a thread."""
        large = self._room(headers_of(scope))
        try:
            body = await read_body(scope, receive)
            if inline and len(body) <= INLINE_BYTES:
                answer = ask(body)
            else:
                async with _turn(self._network_limiter, self._wait_s):
                    answer = await to_thread.run_sync(ask, body)
        finally:
            self._large -= large
        self._metrics.count_inputs(answer.inputs)
        return answer

    async def _handled(self, process: ModelProcess, scope: Scope, receive: Receive) -> Reply:
        """The answer of handlers, which take what comes as it came, and answer as they like."""
        headers = headers_of(scope)
        with process.held():
            large = self._room(headers)
            try:
                message = Message(_values(headers), await read_body(scope, receive))
                async with _turn(self._handlers_limiter, self._wait_s):
                    # A server told to end does not wait for an answer that does not come.
                    ask, gives_up = process.ask, True
                    answer = await to_thread.run_sync(ask, message, abandon_on_cancel=gives_up)
            finally:
                self._large -= large
            return _handlers_reply(answer, process.manifest.version)

    def _room(self, headers: Headers) -> int:
        """Count a body that may be large, as 1, or refuse it where many are held already."""
        length = headers.get(b"content-length", b"")
        chunked = b"transfer-encoding" in headers
        if not chunked and (not length.isdigit() or int(length) <= INLINE_BYTES):
            return 0
        if self._large >= LARGE_BODIES:
            raise OverloadedError(f"{LARGE_BODIES} large bodies are being answered; ask again")
        self._large += 1
        return 1


def _with_input(scope: Scope) -> bool:
    """Whether the query asks for what the model was given, beside what it says of it."""
    asked = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    value = asked.get(WITH_INPUT, ["false"])[-1]
    if value not in ("true", "false"):
        raise BadRequestError(f"{WITH_INPUT} is true or false, not {value[:80]!r}")
    return bool(value == "true")


@asynccontextmanager
async def _turn(limiter: CapacityLimiter, wait_s: float) -> AsyncIterator[None]:
    """Wait for one's turn, but not for ever."""
    with anyio.move_on_after(wait_s) as scope:
        await limiter.acquire()
    if scope.cancelled_caught:
        raise DeadlineError(f"the request waited {wait_s:g} seconds for its turn")
    try:
        yield
    finally:
        limiter.release()


def _of_version(response: Response, version: str) -> Response:
    response.headers["x-model-version"] = version
    return response


def _network_reply(answer: Answer, model: Model, given_back: list[tuple[bytes, bytes]]) -> Reply:
    # Given as a header, the type stays as it was negotiated, without a charset.
    headers = [
        (b"content-type", answer.media_type.encode()),
        (b"x-model-version", model.version.encode()),
        *given_back,
    ]
    if answer.scale is not None:
        headers.append((b"x-input-scale", answer.scale.encode()))
    return Reply(headers, answer.body)


def _values(headers: Headers) -> dict[str, object]:
    named = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}
    return {
        "content_type": named.get("content-type", ""),
        "accept": named.get("accept", ""),
        "headers": {
            name: value
            for name, value in named.items()
            if name in ("content-type", "accept") or name.startswith(FORWARDED)
        },
    }


def _handlers_reply(answer: Message, version: str) -> Reply:
    values = answer.values
    if "error" in values:
        raise HandlerError(values["status"], values["error"])
    given = {name: value for name, value in values["headers"].items() if name.startswith(FORWARDED)}
    headers = {**given, "content-type": values["content_type"], "x-model-version": version}
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    return Reply(raw, answer.body, values["status"])


def _check_encoding(headers: Headers) -> None:
    encoding = headers.get(b"content-encoding")
    if encoding is not None and encoding.strip().lower() != b"identity":
        shown = encoding[:80].decode("latin-1")
        raise UnsupportedTypeError(f"content encoding {shown!r} is not read; send it plain")
