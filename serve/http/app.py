"""The HTTP application of an endpoint: `create_app` builds it around the registry of its model."""

from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.errors import NotFoundError, RequestError
from serve.formats.requests import why_no_page
from serve.http import v2
from serve.http.access import AccessPolicy
from serve.http.inference import Inference
from serve.http.metrics import CONTENT_TYPE, Metrics
from serve.http.middleware import RequestMiddleware
from serve.http.openapi import describe_api
from serve.http.request_log import Log, LogMiddleware, StderrLog
from serve.http.responses import SERVER_FAILED, Reply, create_error_reply, create_refusal
from serve.page import routes
from serve.rollout.registry import Registry
from serve.settings import Settings

ANYBODY = AccessPolicy()
DEFAULTS = Settings()


class Application(FastAPI):
    """FastAPI behind `RequestMiddleware`; its OpenAPI document describes the current model."""

    def __init__(self, registry: Registry) -> None:
        super().__init__(docs_url=None, redoc_url=None, redirect_slashes=False)
        self._registry = registry
        self.request_middleware: RequestMiddleware
        self.handler: ASGIApp
        """The middleware, behind the log if there is one."""

    def openapi(self) -> dict[str, Any]:
        """Describe every route, in the version that the packaged Swagger UI can read."""
        return describe_api(self._registry.current.manifest)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self.handler(scope, receive, send)


def create_app(
    registry: Registry,
    *,
    access: AccessPolicy = ANYBODY,
    settings: Settings = DEFAULTS,
    log: Log | None = None,
    metrics: Metrics | None = None,
) -> Application:
    """Create the application that serves the registry's current model.

    Args:
        registry: Holds the model, which may be replaced while the application serves.
        access: Who may ask; by default anybody, of any host, but no other site's page.
        settings: Its limits, path below a proxy, and whether requests are logged on stderr.
        log: Receives a line of JSON for each request, whatever the settings say.
        metrics: Counters; by default those of this process alone.

    Returns:
        An ASGI application, whose `request_middleware` words and counts the transport's refusals.
    """
    metrics = metrics or Metrics()
    app = Application(registry)
    _add_error_handlers(app)
    _add_metadata_routes(app, registry, metrics)
    v2.add_metadata_routes(app, registry)
    max_requests = settings.limits.max_requests
    inference = Inference(registry, metrics, wait_s=settings.wait_s, max_requests=max_requests)
    model_routes = inference.routes()
    for path, route in model_routes.items():  # FastAPI answers their other methods.
        app.router.routes.append(Route(path, route, methods=["POST"]))
    app.router.routes.extend(routes.asset_routes())
    metrics.add_routes(route.path for route in app.routes if isinstance(route, Route))
    app.request_middleware = RequestMiddleware(
        super(Application, app).__call__,
        access,
        metrics,
        model_routes,
        root_path=settings.root_path,
    )
    app.handler = app.request_middleware
    if log is not None or settings.log_json:
        app.handler = LogMiddleware(app.handler, log or StderrLog(), metrics)
    return app


def _add_metadata_routes(app: FastAPI, registry: Registry, metrics: Metrics) -> None:
    """Add the page and the routes that do not ask the model."""

    @app.get("/")
    async def page() -> Response:
        if (why_not := why_no_page(registry.current.manifest)) is not None:
            raise NotFoundError(why_not)
        return routes.drawing_page()

    async def ready() -> Response:
        registry.check()
        return JSONResponse({"status": "Healthy"})

    async def live() -> Response:
        return JSONResponse({"status": "Healthy"})

    for path in ("/ping", "/healthz", "/readyz"):
        app.get(path)(ready)
    app.get("/livez")(live)

    @app.get("/model")
    async def model() -> Response:
        return JSONResponse(registry.current.manifest.public())

    @app.get("/metrics")
    async def prometheus() -> Response:
        text = await metrics.text(registry.current.manifest)
        return Response(text, media_type=CONTENT_TYPE)


def _add_error_handlers(app: FastAPI) -> None:
    """Answer every error in one sentence, the framework's own included."""

    @app.exception_handler(RequestError)
    async def answer_request_error(request: Request, error: RequestError) -> Reply:
        return create_error_reply(request.scope, error)

    @app.exception_handler(HTTPException)
    async def answer_http_exception(request: Request, error: HTTPException) -> Reply:
        reply = create_refusal(request.scope, error.status_code, _sentence(request, error))
        for name, value in (error.headers or {}).items():
            reply.headers.append((name.lower().encode(), value.encode()))
        return reply

    @app.exception_handler(Exception)  # Uvicorn logs the traceback.
    async def answer_exception(request: Request, _: Exception) -> Reply:
        return create_refusal(request.scope, 500, SERVER_FAILED)


def _sentence(request: Request, error: HTTPException) -> str:
    path = request.scope["path"][:80]
    sentences = {
        404: f"there is no route {path!r}; /docs lists them",
        405: f"{path!r} does not take {request.method[:20]}",
    }
    return sentences.get(error.status_code, str(error.detail))
