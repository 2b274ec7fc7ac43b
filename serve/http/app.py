"""The HTTP application of an endpoint: `create_app` builds it around a registry of its model."""

from collections.abc import Collection
from typing import Any, TextIO

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.responses import PlainTextResponse as TextResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from serve.errors import RequestError
from serve.http import v2
from serve.http.access import Gate
from serve.http.inference import Endpoints
from serve.http.metrics import CONTENT_TYPE, Metrics, text
from serve.http.middleware import RequestMiddleware
from serve.http.openapi import described
from serve.http.responses import FAILED, error_reply, reply
from serve.page import routes
from serve.rollout.registry import Registry
from serve.settings import Settings

OPENAPI_VERSION = "3.0.3"
"""What the packaged Swagger page can read."""


class Application(FastAPI):
    """FastAPI behind `RequestMiddleware`; its OpenAPI document describes the current model."""

    def __init__(self, registry: Registry) -> None:
        super().__init__(docs_url=None, redoc_url=None, redirect_slashes=False)
        self.openapi_version = OPENAPI_VERSION
        self._registry = registry
        self.request_middleware: RequestMiddleware

    def openapi(self) -> dict[str, Any]:
        """The description of every route, those that FastAPI does not see included."""
        return described(super().openapi(), self._registry.current)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self.request_middleware(scope, receive, send)


def create_app(
    registry: Registry,
    *,
    hosts: Collection[str] | None = None,
    api_key: str | None = None,
    wait_s: float = Settings.wait_s,
    log: TextIO | None = None,
    metrics: Metrics | None = None,
) -> Application:
    """The application that serves the model of now.

    To clients that name one of the hosts and know the key, or to any; a request waits for its turn
    at most so many seconds; a log gets a line of JSON for every request.
    """
    metrics = metrics or Metrics()
    app = Application(registry)
    _add_error_replies(app)
    _add_readings(app, registry, metrics)
    v2.add_readings(app, registry)
    model_routes = Endpoints(registry, metrics, wait_s=wait_s).routes()
    for route in model_routes:  # Here FastAPI learns what to say to another method.
        app.router.routes.append(Route(route.path, route, methods=["POST"]))
    app.router.routes.extend(routes.asset_routes())
    app.request_middleware = RequestMiddleware(
        super(Application, app).__call__,
        Gate.of(hosts, api_key),
        metrics,
        model_routes,
        framework_routes=[route for route in app.routes if isinstance(route, Route)],
        log=log,
    )
    return app


def _add_readings(app: FastAPI, registry: Registry, metrics: Metrics) -> None:
    """The routes that only tell something, which FastAPI declares by itself."""

    @app.get("/", summary="The page on which one draws.", response_class=HTMLResponse)
    async def page() -> Response:
        return routes.drawing_page(drawable=registry.current.drawable)

    @app.get("/ping", summary="200 once the model is loaded, verified and warm.")
    async def ping() -> Response:
        registry.check()
        return JSONResponse({"status": "Healthy"})

    @app.get("/model", summary="What the model says of itself.")
    async def model() -> Response:
        return JSONResponse(registry.current.manifest.public())

    @app.get("/metrics", summary="Counts and times for Prometheus.", response_class=TextResponse)
    async def numbers() -> Response:
        families = await metrics.total(registry.current.manifest)
        return Response(text(families), media_type=CONTENT_TYPE)


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

    @app.exception_handler(Exception)  # The server writes its traceback to its own log.
    async def failed(request: Request, _: Exception) -> Response:
        return reply(request.scope, 500, FAILED)


def _sentence(request: Request, error: HTTPException) -> str:
    path = request.scope["path"][:80]
    sentences = {
        404: f"there is no route {path!r}; /docs lists them",
        405: f"{path!r} does not take {request.method[:20]}",
    }
    return sentences.get(error.status_code, str(error.detail))
