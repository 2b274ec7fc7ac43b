"""What a browser shows: the drawing page, and the API's description without the internet."""

from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serve.errors import NotFoundError

MEDIA_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
DRAWING = ("page.css", "page.js", "paper.js", "reader.js", "words.js")
OWN = {
    **{f"/page/{name}": name for name in DRAWING},
    "/docs": "docs.html",
    "/docs/start.js": "docs.js",
}
SWAGGER = {
    "/docs/swagger-ui-bundle.js": "swagger-ui-bundle.js",
    "/docs/swagger-ui.css": "swagger-ui.css",
}


def drawing_page(*, drawable: bool) -> Response:
    """The page on which one draws, for models that take drawings."""
    if not drawable:
        raise NotFoundError("this model takes no drawings; /docs tells what it does take")
    return _file(files("serve.page") / "page.html")


def asset_routes() -> list[Route]:
    """The routes of the API's description, and of what it and the drawing page load."""
    return [Route(path, _asset, include_in_schema=False) for path in (*OWN, *SWAGGER)]


async def _asset(request: Request) -> Response:
    path = request.scope["path"]
    return _file(files("serve.page") / OWN[path] if path in OWN else _swagger() / SWAGGER[path])


def _swagger() -> Traversable:
    """The folder of Swagger's page in the package that brings it, whichever version that is."""
    vendor = files("swagger_ui_bundle") / "vendor"
    return max(vendor.iterdir(), key=lambda folder: folder.name)


def _file(source: Traversable) -> Response:
    suffix = source.name[source.name.rindex(".") :]
    # No-cache makes a browser ask again, so that a page never outlives the server it came from.
    headers = {"cache-control": "no-cache"}
    return Response(source.read_bytes(), media_type=MEDIA_TYPES[suffix], headers=headers)
