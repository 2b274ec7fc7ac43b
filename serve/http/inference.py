"""The routes that ask the model, as plain ASGI: what a framework adds costs more than the model."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import NamedTuple, Self
from urllib.parse import parse_qs

import anyio
from anyio import CapacityLimiter, to_thread
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.errors import (
    BadRequestError,
    DeadlineError,
    HandlerError,
    NotFoundError,
    RequestError,
    UnsupportedTypeError,
)
from serve.formats.codecs import CODECS, JSON
from serve.formats.negotiation import acceptable, content_type
from serve.http import v2
from serve.http.access import INLINE_BYTES, LargeBodies, read_body
from serve.http.headers import Headers, headers_of, returned, text
from serve.http.metrics import Metrics
from serve.http.responses import ALIAS_ROUTE, FAILED, Reply, error_reply, reply
from serve.ipc import Message
from serve.rollout.registry import Model, Registry
from serve.runtime.backend import Answer, Question, Service
from serve.runtime.batcher import Outputs
from serve.runtime.script_backend import ModelProcess

THREADS = 2
"""Large bodies worked on at once; each may take a hundred megabytes while it is read."""
FORWARDED = "x-amzn-sagemaker-"
"""How the names of headers begin that SageMaker hands to handlers and back."""
WITH_INPUT = "with_input"
"""The query's parameter by which each prediction brings its input, as the model was given it."""
TYPES = tuple(CODECS)
_FORMATS = "tuneport.formats"
"""Where the scope of a request has its formats, which a head that comes again does not change."""
VARIANT = "AllTraffic"
"""What the only variant of an endpoint is called."""
_VARIANT = (b"x-amzn-invoked-production-variant", VARIANT.encode())
_TARGETS = {
    b"x-amzn-sagemaker-target-variant": "variant",
    b"x-amzn-sagemaker-target-model": "model",
    b"x-amzn-sagemaker-target-container-hostname": "container",
    b"x-amzn-sagemaker-inference-component": "inference component",
}
"""Headers by which clients name a part of an endpoint, and what they name."""


@dataclass(slots=True)
class Wanted:
    """What a request's head asks of which model."""

    model: Model
    read: Callable[[bytes], Question] | None
    """Makes a network's question of the body; handlers take it as it is."""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    """What else the reply is to have."""
    quick: bool = True
    """Whether a small body is soon read."""

    @property
    def at_once(self) -> bool:
        """Whether a small request may be answered on the event loop."""
        asked = self.model.asked
        return self.quick and isinstance(asked, Service) and asked.together.quick


class _Formats(NamedTuple):
    """What `/invocations` is asked in, what it answers in, and with which headers."""

    sent: str
    accepted: str
    given_back: list[tuple[bytes, bytes]]

    @classmethod
    def of(cls, headers: Headers) -> Self:
        """What the headers say; a RequestError for what nobody reads or writes."""
        _check_encoding(headers)
        given_back = returned(headers)
        sent = content_type(text(headers, b"content-type"), TYPES)
        return cls(sent, acceptable(text(headers, b"accept"), TYPES), given_back)


class ModelRoute:
    """One route that asks the model: what it answers, or one sentence that says why not."""

    def __init__(
        self, path: str, wanted: Callable[[Scope], Wanted], endpoints: "Endpoints"
    ) -> None:
        self.path = path
        self.pattern = re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path)))
        self._wanted = wanted
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        # Nothing comes between this and the route's own look at which model answers.
        version = self._endpoints.version
        found: ASGIApp
        try:
            found = await self._endpoints.answer(self._wanted(scope), scope, receive)
        except RequestError as error:
            found = _of_version(error_reply(scope, error), version)
        except ClientDisconnect:
            found = _of_version(reply(scope, 400, "the body ended before its length"), version)
        except Exception:  # The server writes its traceback to its own log.
            await _of_version(reply(scope, 500, FAILED), version)(scope, receive, send)
            raise
        await found(scope, receive, send)

    def answer_soon(self, scope: Scope, body: bytes, done: Callable[[Reply], None]) -> bool:
        """Call `done` with the reply to a small request, in a later turn of the event loop.

        False where the reply takes a task.
        """
        version = self._endpoints.version

        def failed(error: Exception) -> None:
            done(_failed(scope, error, version))

        try:
            wanted = self._wanted(scope)
            if not wanted.at_once:
                return False
            self._endpoints.answer_soon(wanted, body, done, failed)
        except Exception as error:
            asyncio.get_running_loop().call_soon(failed, error)
        return True


class Endpoints:
    """What answers the routes that ask the model, whichever it is when a request comes."""

    def __init__(self, registry: Registry, metrics: Metrics, *, wait_s: float) -> None:
        self._registry = registry
        self._metrics = metrics
        self._wait_s = wait_s
        self._network_limiter = CapacityLimiter(THREADS)
        # Handlers take one request at a time; the others wait here.
        self._handlers_limiter = CapacityLimiter(1)
        self._large = LargeBodies()

    @property
    def version(self) -> str:
        """Which version answers now."""
        return self._registry.current.version

    def routes(self) -> list[ModelRoute]:
        """Every route that asks the model."""
        wanted = {
            "/invocations": self._invoke,
            "/predict": self._predict,
            ALIAS_ROUTE: self._invoke_by_name,
            **dict.fromkeys(v2.INFER_ROUTES, self._infer),
        }
        return [ModelRoute(path, found, self) for path, found in wanted.items()]

    async def answer(self, wanted: Wanted, scope: Scope, receive: Receive) -> Reply:
        """The reply to one request, its body still to be read."""
        asked = wanted.model.asked
        if isinstance(asked, ModelProcess):
            found = await self._handled(asked, scope, receive)
            found.headers.extend(wanted.headers)
            return found
        return self._reply(await self._answered(wanted, asked, scope, receive), wanted)

    def answer_soon(
        self,
        wanted: Wanted,
        body: bytes,
        done: Callable[[Reply], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Call `done` with the reply to a small body, once the network has answered it.

        Where it has not, `failed` is told why.
        """
        assert wanted.read is not None
        assert isinstance(wanted.model.asked, Service)  # at_once says both
        question = wanted.read(body)

        def answered(outputs: Outputs) -> None:
            try:
                if isinstance(outputs, Exception):
                    raise outputs
                found = self._reply(question.answer(outputs), wanted)
            except Exception as error:
                failed(error)
            else:
                done(found)

        until = asyncio.get_running_loop().time() + self._wait_s
        wanted.model.asked.together.ask(question.inputs, until, answered)

    def _invoke(self, scope: Scope) -> Wanted:
        return self._invoked(self._registry.current, scope)

    def _invoke_by_name(self, scope: Scope) -> Wanted:
        name, model = scope["path_params"]["name"], self._registry.current
        if name != (served := model.manifest.name):
            raise NotFoundError(f"Endpoint {name[:80]} not found; {served} is served here.")
        _check_targets(headers_of(scope), served)
        found = self._invoked(model, scope)
        found.headers.append(_VARIANT)
        return found

    def _invoked(self, model: Model, scope: Scope) -> Wanted:
        headers = headers_of(scope)
        if isinstance(model.asked, ModelProcess):
            _check_encoding(headers)
            returned(headers)
            return Wanted(model, None)
        formats: _Formats | None = scope.get(_FORMATS)
        if formats is None:
            formats = scope[_FORMATS] = _Formats.of(headers)
        read = partial(model.asked.invoke, content_type=formats.sent, accept=formats.accepted)
        return Wanted(model, read, list(formats.given_back))

    def _predict(self, scope: Scope) -> Wanted:
        model, headers = self._registry.current, headers_of(scope)
        if isinstance(model.asked, ModelProcess):
            raise NotFoundError(
                "this model answers by handlers of its own, which take no drawings and know no "
                "labels; ask /invocations"
            )
        _check_encoding(headers)
        kind = content_type(text(headers, b"content-type"), model.asked.predict_types)
        acceptable(text(headers, b"accept"), (JSON,))
        read = partial(model.asked.predict, content_type=kind, with_input=_with_input(scope))
        return Wanted(model, read, quick=kind == JSON)

    def _infer(self, scope: Scope) -> Wanted:
        names, headers = scope["path_params"], headers_of(scope)
        model = v2.named(self._registry, names["name"], names.get("version"))
        if isinstance(model.asked, ModelProcess):
            raise NotFoundError(
                "this model answers by handlers of its own, whose tensors nobody knows; ask "
                "/invocations"
            )
        _check_encoding(headers)
        content_type(text(headers, b"content-type"), (JSON,))
        return Wanted(model, partial(v2.infer, model.asked))

    async def _answered(
        self, wanted: Wanted, service: Service, scope: Scope, receive: Receive
    ) -> Answer:
        """What a network answers to the body, here or, where it may take long, in a thread."""
        with self._large.room(headers_of(scope)):
            body = await read_body(scope, receive)
            ask = partial(_asked, wanted, service, body)
            if wanted.at_once and len(body) <= INLINE_BYTES:
                return ask()
            async with _turn(self._network_limiter, self._wait_s):
                return await to_thread.run_sync(ask)

    async def _handled(self, process: ModelProcess, scope: Scope, receive: Receive) -> Reply:
        """The answer of handlers, which take what comes as it came, and answer as they like."""
        headers = headers_of(scope)
        with process.held():
            with self._large.room(headers):
                message = Message(_values(headers), await read_body(scope, receive))
                async with _turn(self._handlers_limiter, self._wait_s):
                    # A server told to end does not wait for an answer that does not come.
                    ask, gives_up = process.ask, True
                    answer = await to_thread.run_sync(ask, message, abandon_on_cancel=gives_up)
            return _handlers_reply(answer, process.manifest.version)

    def _reply(self, answer: Answer, wanted: Wanted) -> Reply:
        self._metrics.count_inputs(answer.inputs)
        told = _told(answer.media_type, wanted.model.version, answer.scale)
        return Reply([*told, *wanted.headers], answer.body)


@lru_cache(maxsize=64)
def _told(media_type: str, version: str, scale: str | None) -> list[tuple[bytes, bytes]]:
    """What a reply's headers say of it."""
    # Given as a header, the type stays as it was negotiated, without a charset.
    headers = [(b"content-type", media_type.encode()), (b"x-model-version", version.encode())]
    return headers if scale is None else [*headers, (b"x-input-scale", scale.encode())]


def _check_targets(headers: Headers, endpoint: str) -> None:
    """Raise `NotFoundError` where a client names a part that an endpoint of one model lacks."""
    for header, part in _TARGETS.items():
        wanted = text(headers, header)
        if wanted is not None and (part, wanted) != ("variant", VARIANT):
            raise NotFoundError(
                f"Endpoint {endpoint} has no {part} {wanted[:80]!r}; it is one model, whose "
                f"variant is {VARIANT}."
            )


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


def _failed(scope: Scope, error: Exception, version: str) -> Reply:
    """What is answered where there is no answer."""
    if isinstance(error, RequestError):
        return Reply.of(_of_version(error_reply(scope, error), version))
    logging.getLogger("uvicorn.error").error("a request failed", exc_info=error)
    return Reply.of(_of_version(reply(scope, 500, FAILED), version))


def _of_version(response: Response, version: str) -> Response:
    response.headers["x-model-version"] = version
    return response


def _asked(wanted: Wanted, service: Service, body: bytes) -> Answer:
    assert wanted.read is not None  # a service has questions
    return service.answer(wanted.read(body))


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
