"""The routes that ask the model: of a network that runs here, or of handlers in their process."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import Response

from serve.channel import Message
from serve.codecs import CODECS, JSON
from serve.errors import HandlerError, NotFoundError, UnsupportedTypeError
from serve.metrics import Metrics
from serve.negotiation import acceptable, content_type
from serve.replies import ALIAS_ROUTE
from serve.service import Answer, Service

if TYPE_CHECKING:
    from serve.process import ModelProcess

INLINE_BYTES = 64 * 1024
"""Bodies up to this are answered on the event loop; larger ones in a thread, so that none waits."""
THREADS = 2
"""Large bodies worked on at once; each may take a hundred megabytes while it is read."""
FORWARDED = "x-amzn-sagemaker-"
"""How the names of headers begin that SageMaker hands to handlers and back."""

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Endpoints:
    """What answers the routes that ask the model of that name."""

    name: str
    invoke: Endpoint
    predict: Endpoint

    @property
    def routes(self) -> dict[str, Endpoint]:
        """What answers each path."""
        return {
            "/invocations": self.invoke,
            ALIAS_ROUTE: self._invoke_by_name,
            "/predict": self.predict,
        }

    async def _invoke_by_name(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name != self.name:
            raise NotFoundError(f"Endpoint {name[:80]} not found; {self.name} is served here.")
        response = await self.invoke(request)
        response.headers["x-amzn-invoked-production-variant"] = "AllTraffic"
        return response


def of_network(service: Service, metrics: Metrics) -> Endpoints:
    """The routes of a network that runs in this process."""
    limiter = CapacityLimiter(THREADS)

    async def answered(work: Callable[[], Answer], *, inline: bool) -> Response:
        answer = work() if inline else await to_thread.run_sync(work, limiter=limiter)
        metrics.count_inputs(answer.inputs)
        # Given as a header, the type stays as it was negotiated, without a charset.
        headers = {"content-type": answer.media_type, "x-model-version": service.manifest.version}
        if answer.scale is not None:
            headers["x-input-scale"] = answer.scale
        return Response(answer.body, headers=headers)

    async def invoke(request: Request) -> Response:
        kind = _body_type(request, tuple(CODECS))
        accept = acceptable(request.headers.get("accept"), tuple(CODECS))
        body = await request.body()
        work = partial(service.invoke, body, kind, accept)
        return await answered(work, inline=len(body) <= INLINE_BYTES)

    async def predict(request: Request) -> Response:
        kind = _body_type(request, service.predict_types)
        acceptable(request.headers.get("accept"), (JSON,))
        body = await request.body()
        work = partial(service.predict, body, kind)
        return await answered(work, inline=kind == JSON and len(body) <= INLINE_BYTES)

    return Endpoints(service.manifest.name, invoke, predict)


def of_handlers(process: "ModelProcess") -> Endpoints:
    """The routes of a model whose handlers take what comes as it came, and answer as they like."""
    limiter = CapacityLimiter(1)  # They take one request at a time; the others wait here.

    async def invoke(request: Request) -> Response:
        _check_encoding(request)
        message = Message(_values(request), await request.body())
        # A server that is told to end does not wait for an answer that does not come.
        ask = partial(process.ask, message)
        answer = await to_thread.run_sync(ask, limiter=limiter, abandon_on_cancel=True)
        return _response(answer, process.manifest.version)

    async def predict(request: Request) -> Response:
        raise NotFoundError(
            "this model answers by handlers of its own, which take no drawings and know no labels; "
            "ask /invocations"
        )

    return Endpoints(process.manifest.name, invoke, predict)


def _values(request: Request) -> dict[str, object]:
    headers = request.headers
    return {
        "content_type": headers.get("content-type", ""),
        "accept": headers.get("accept", ""),
        "headers": {
            name: value
            for name, value in headers.items()
            if name in ("content-type", "accept") or name.startswith(FORWARDED)
        },
    }


def _response(answer: Message, version: str) -> Response:
    values = answer.values
    if "error" in values:
        raise HandlerError(values["status"], values["error"])
    given = {name: value for name, value in values["headers"].items() if name.startswith(FORWARDED)}
    headers = {**given, "content-type": values["content_type"], "x-model-version": version}
    return Response(answer.body, values["status"], headers=headers)


def _body_type(request: Request, read: tuple[str, ...]) -> str:
    _check_encoding(request)
    return content_type(request.headers.get("content-type"), read)


def _check_encoding(request: Request) -> None:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise UnsupportedTypeError(f"content encoding {encoding[:80]!r} is not read; send it plain")
