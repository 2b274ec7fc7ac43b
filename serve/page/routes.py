"""Routes of the drawing page and of Swagger UI, whose files are packaged."""

from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serve.errors import NotFoundError

MEDIA_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
PAGE_FILES = ("page.css", "page.js", "paper.js", "reader.js", "words.js")
OWN_FILES = {
    **{f"/page/{name}": name for name in PAGE_FILES},
    "/docs": "docs.html",
    "/docs/start.js": "docs.js",
}
SWAGGER_FILES = {
    "/docs/swagger-ui-bundle.js": "swagger-ui-bundle.js",
    "/docs/swagger-ui.css": "swagger-ui.css",
}


def drawing_page(*, drawable: bool) -> Response:
    """Return the page to draw digits on; raises NotFoundError if the model takes no drawings."""
    if not drawable:
        raise NotFoundError("this model takes no drawings; /docs lists what it takes")
    return _file(files("serve.page") / "page.html")


def asset_routes() -> list[Route]:
    """Return the routes of Swagger UI, and of the files that it and the drawing page load."""
    return [Route(path, _asset, include_in_schema=False) for path in (*OWN_FILES, *SWAGGER_FILES)]


async def _asset(request: Request) -> Response:
    path = request.scope["path"]
    if path in OWN_FILES:
        return _file(files("serve.page") / OWN_FILES[path])
    return _file(_swagger_folder() / SWAGGER_FILES[path])


def _swagger_folder() -> Traversable:
    """Return the folder of Swagger UI's newest version in its package."""
    vendor = files("swagger_ui_bundle") / "vendor"
    return max(vendor.iterdir(), key=lambda folder: folder.name)


def _file(source: Traversable) -> Response:
    suffix = source.name[source.name.rindex(".") :]
    # The browser revalidates, so that it never shows the page of an earlier server.
    headers = {"cache-control": "no-cache"}
    return Response(source.read_bytes(), media_type=MEDIA_TYPES[suffix], headers=headers)
