"""The routes that ask the model: of a network that runs here, or of handlers in their process."""

from collections.abc import Awaitable, Callable
from functools import partial

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import Response

from serve.channel import Message
from serve.codecs import CODECS, JSON
from serve.errors import HandlerError, NotFoundError, UnsupportedTypeError
from serve.metrics import Metrics
from serve.negotiation import acceptable, content_type
from serve.process import ModelProcess
from serve.registry import Model, Registry
from serve.replies import ALIAS_ROUTE
from serve.service import Answer

INLINE_BYTES = 64 * 1024
"""Bodies up to this are answered on the event loop; larger ones in a thread, so that none waits."""
THREADS = 2
"""Large bodies worked on at once; each may take a hundred megabytes while it is read."""
FORWARDED = "x-amzn-sagemaker-"
"""How the names of headers begin that SageMaker hands to handlers and back."""

Endpoint = Callable[[Request], Awaitable[Response]]


class Endpoints:
    """What answers the routes that ask the model, whichever it is when a request comes."""

    def __init__(self, registry: Registry, metrics: Metrics) -> None:
        self._registry = registry
        self._metrics = metrics
        self._network_limiter = CapacityLimiter(THREADS)
        # Handlers take one request at a time; the others wait here.
        self._handlers_limiter = CapacityLimiter(1)

    @property
    def routes(self) -> dict[str, Endpoint]:
        """What answers each path."""
        return {
            "/invocations": self._invoke,
            ALIAS_ROUTE: self._invoke_by_name,
            "/predict": self._predict,
        }

    async def _invoke(self, request: Request) -> Response:
        return await self._invoked(self._registry.current, request)

    async def _invoke_by_name(self, request: Request) -> Response:
        name, model = request.path_params["name"], self._registry.current
        if name != (served := model.manifest.name):
            raise NotFoundError(f"Endpoint {name[:80]} not found; {served} is served here.")
        response = await self._invoked(model, request)
        response.headers["x-amzn-invoked-production-variant"] = "AllTraffic"
        return response

    async def _invoked(self, model: Model, request: Request) -> Response:
        if isinstance(model.asked, ModelProcess):
            return await self._handled(model.asked, request)
        kind = _body_type(request, tuple(CODECS))
        accept = acceptable(request.headers.get("accept"), tuple(CODECS))
        body = await request.body()
        work = partial(model.asked.invoke, body, kind, accept)
        return await self._answered(work, model.version, inline=len(body) <= INLINE_BYTES)

    async def _predict(self, request: Request) -> Response:
        model = self._registry.current
        if isinstance(model.asked, ModelProcess):
            raise NotFoundError(
                "this model answers by handlers of its own, which take no drawings and know no "
                "labels; ask /invocations"
            )
        kind = _body_type(request, model.asked.predict_types)
        acceptable(request.headers.get("accept"), (JSON,))
        body = await request.body()
        work = partial(model.asked.predict, body, kind)
        inline = kind == JSON and len(body) <= INLINE_BYTES
        return await self._answered(work, model.version, inline=inline)

    async def _answered(
        self, work: Callable[[], Answer], version: str, *, inline: bool
    ) -> Response:
        limiter = self._network_limiter
        answer = work() if inline else await to_thread.run_sync(work, limiter=limiter)
        self._metrics.count_inputs(answer.inputs)
        # Given as a header, the type stays as it was negotiated, without a charset.
        headers = {"content-type": answer.media_type, "x-model-version": version}
        if answer.scale is not None:
            headers["x-input-scale"] = answer.scale
        return Response(answer.body, headers=headers)

    async def _handled(self, process: ModelProcess, request: Request) -> Response:
        """The answer of handlers, which take what comes as it came, and answer as they like."""
        with process.held():
            _check_encoding(request)
            message = Message(_values(request), await request.body())
            # A server that is told to end does not wait for an answer that does not come.
            answer = await to_thread.run_sync(
                process.ask, message, limiter=self._handlers_limiter, abandon_on_cancel=True
            )
            return _response(answer, process.manifest.version)


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
