"""The HTTP application of one model: `create_app` builds it around a predictor."""

from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.responses import PlainTextResponse as TextResponse
from starlette.routing import Route

from serve import pages
from serve.codecs import CODECS, JSON
from serve.description import model_paths
from serve.errors import NotFoundError, RequestError, UnsupportedTypeError
from serve.limits import Limits
from serve.metrics import CONTENT_TYPE, Measured, Metrics
from serve.negotiation import acceptable, content_type
from serve.replies import ALIAS_ROUTE, error_reply, reply
from serve.service import Answer, Service

if TYPE_CHECKING:
    from serve.engine import Predictor

INLINE_BYTES = 64 * 1024
"""Bodies up to this are answered on the event loop; larger ones in a thread, so that none waits."""
THREADS = 2
"""Large bodies worked on at once; each may take a hundred megabytes while it is read."""
OPENAPI_VERSION = "3.0.3"
"""What the packaged Swagger page can read."""


def create_app(predictor: "Predictor", *, hosts: Collection[str] | None = None) -> FastAPI:
    """The application that serves a predictor, to clients that name one of the hosts, or any."""
    service, metrics = Service(predictor), Metrics(predictor.manifest)
    app = FastAPI(
        title=f"Tuneport: {service.manifest.name}",
        version=service.manifest.version,
        description="Pixels are 0 to 255; images scaled 0 to 1 or normalised are recognised.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    _add_error_replies(app)
    _add_readings(app, service, metrics)
    _add_model_routes(app, service, metrics)
    app.router.routes.extend(pages.asset_routes())
    app.openapi_version = OPENAPI_VERSION
    app.openapi()["paths"].update(model_paths(service.manifest, service.predict_types))
    routes = {route.path for route in app.routes if isinstance(route, Route)}
    app.add_middleware(Limits, hosts=hosts)
    app.add_middleware(Measured, metrics=metrics, routes=frozenset(routes))
    return app


def _add_readings(app: FastAPI, service: Service, metrics: Metrics) -> None:
    """The routes that only tell something, which FastAPI declares by itself."""

    @app.get("/", summary="The page on which one draws.", response_class=HTMLResponse)
    async def page() -> Response:
        return pages.drawing_page(drawable=service.drawable)

    @app.get("/ping", summary="200 once the model is loaded, verified and warm.")
    async def ping() -> Response:
        return JSONResponse({"status": "Healthy"})

    @app.get("/model", summary="What the model says of itself.")
    async def model() -> Response:
        return JSONResponse(service.manifest.public())

    @app.get("/metrics", summary="Counts and times for Prometheus.", response_class=TextResponse)
    async def numbers() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE)


def _add_model_routes(app: FastAPI, service: Service, metrics: Metrics) -> None:
    """The routes that ask the model: plain ones, for what FastAPI adds costs more than the model.

    They are described by hand, in `description.py`.
    """
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

    async def invoke_by_name(request: Request) -> Response:
        name = request.path_params["name"]
        if name != service.manifest.name:
            raise NotFoundError(
                f"Endpoint {name[:80]} not found; {service.manifest.name} is served here."
            )
        response = await invoke(request)
        response.headers["x-amzn-invoked-production-variant"] = "AllTraffic"
        return response

    async def predict(request: Request) -> Response:
        kind = _body_type(request, service.predict_types)
        acceptable(request.headers.get("accept"), (JSON,))
        body = await request.body()
        work = partial(service.predict, body, kind)
        return await answered(work, inline=kind == JSON and len(body) <= INLINE_BYTES)

    for path, endpoint in (
        ("/invocations", invoke),
        (ALIAS_ROUTE, invoke_by_name),
        ("/predict", predict),
    ):
        app.router.routes.append(Route(path, endpoint, methods=["POST"]))


def _body_type(request: Request, read: tuple[str, ...]) -> str:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise UnsupportedTypeError(f"content encoding {encoding[:80]!r} is not read; send it plain")
    return content_type(request.headers.get("content-type"), read)


def _add_error_replies(app: FastAPI) -> None:
    """Every error as one sentence, the framework's own included."""

    @app.exception_handler(RequestError)
    async def refused(request: Request, error: RequestError) -> Response:
        return error_reply(request.scope, error)

    @app.exception_handler(HTTPException)
    async def unrouted(request: Request, error: HTTPException) -> Response:
        response = reply(request.scope, error.status_code, _sentence(request, error))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, _: ClientDisconnect) -> Response:
        return reply(request.scope, 400, "the body ended before its length")

    @app.exception_handler(Exception)  # The server writes its traceback to its own log.
    async def failed(request: Request, _: Exception) -> Response:
        return reply(request.scope, 500, "the server failed on this request; its log says why")


def _sentence(request: Request, error: HTTPException) -> str:
    path = request.scope["path"][:80]
    sentences = {
        404: f"there is no route {path!r}; /docs lists them",
        405: f"{path!r} does not take {request.method[:20]}",
    }
    return sentences.get(error.status_code, str(error.detail))
