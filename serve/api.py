"""The HTTP application of one model: `create_app` builds it around a predictor or a process."""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.responses import PlainTextResponse as TextResponse
from starlette.routing import Route

from serve import pages
from serve.description import handler_paths, model_paths
from serve.endpoints import Endpoints, of_handlers, of_network
from serve.errors import RequestError
from serve.limits import Limits
from serve.manifest import Manifest
from serve.metrics import CONTENT_TYPE, Measured, Metrics
from serve.process import ModelProcess
from serve.replies import error_reply, reply
from serve.service import Service

if TYPE_CHECKING:
    from serve.engine import Predictor

OPENAPI_VERSION = "3.0.3"
"""What the packaged Swagger page can read."""


def create_app(
    model: "Predictor | ModelProcess", *, hosts: Collection[str] | None = None
) -> FastAPI:
    """The application that serves a model, to clients that name one of the hosts, or any."""
    metrics = Metrics(model.manifest)
    if isinstance(model, ModelProcess):
        app = _application(model.manifest, "Bodies go to the model's own handlers as they come.")
        _add_readings(app, model.manifest, metrics, ready=model.check, drawable=False)
        _add_model_routes(app, of_handlers(model), handler_paths(model.manifest.name))
    else:
        service = Service(model)
        scales = "Pixels are 0 to 255; images scaled 0 to 1 or normalised are recognised."
        app = _application(model.manifest, scales)
        # A network that runs in this process was loaded before there was an application.
        ready, drawable = lambda: None, service.drawable
        _add_readings(app, model.manifest, metrics, ready=ready, drawable=drawable)
        paths = model_paths(model.manifest, service.predict_types)
        _add_model_routes(app, of_network(service, metrics), paths)
    routes = {route.path for route in app.routes if isinstance(route, Route)}
    app.add_middleware(Limits, hosts=hosts)
    app.add_middleware(Measured, metrics=metrics, routes=frozenset(routes))
    return app


def _application(manifest: Manifest, description: str) -> FastAPI:
    app = FastAPI(
        title=f"Tuneport: {manifest.name}",
        version=manifest.version,
        description=description,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.openapi_version = OPENAPI_VERSION
    _add_error_replies(app)
    return app


def _add_readings(
    app: FastAPI, manifest: Manifest, metrics: Metrics, *, ready: Callable[[], None], drawable: bool
) -> None:
    """The routes that only tell something, which FastAPI declares by itself."""

    @app.get("/", summary="The page on which one draws.", response_class=HTMLResponse)
    async def page() -> Response:
        return pages.drawing_page(drawable=drawable)

    @app.get("/ping", summary="200 once the model is loaded, verified and warm.")
    async def ping() -> Response:
        ready()
        return JSONResponse({"status": "Healthy"})

    @app.get("/model", summary="What the model says of itself.")
    async def model() -> Response:
        return JSONResponse(manifest.public())

    @app.get("/metrics", summary="Counts and times for Prometheus.", response_class=TextResponse)
    async def numbers() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE)


def _add_model_routes(app: FastAPI, endpoints: Endpoints, described: dict[str, Any]) -> None:
    """The routes that ask the model: plain ones, for what FastAPI adds costs more than the model.

    They are described by hand, in `description.py`.
    """
    for path, endpoint in endpoints.routes.items():
        app.router.routes.append(Route(path, endpoint, methods=["POST"]))
    app.router.routes.extend(pages.asset_routes())
    app.openapi()["paths"].update(described)


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
