"""Routes of the drawing page and of Swagger UI, whose files are packaged."""

import os
from importlib.resources import files
from pathlib import Path

from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER = Path(__file__).parent / "static"
# The browser revalidates, so that it never shows the page of an earlier server.
HEADERS = {"cache-control": "no-cache"}


class PackagedFiles(StaticFiles):
    """Files of a folder, which a browser revalidates."""

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """Create the response of a file, or of status 304."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(HEADERS)
        return response


def drawing_page() -> Response:
    """Return the page to draw digits on."""
    return FileResponse(FOLDER / "page.html", headers=HEADERS)


def asset_routes() -> list[BaseRoute]:
    """Return the routes of Swagger UI, and of the files that it and the drawing page load."""
    return [
        Route("/docs", _docs, include_in_schema=False),
        Mount("/docs", PackagedFiles(directory=_swagger_folder())),
        Mount("/page", PackagedFiles(directory=FOLDER)),
    ]


async def _docs(_: object) -> Response:
    return FileResponse(FOLDER / "docs.html", headers=HEADERS)


def _swagger_folder() -> Path:
    """Return the folder of Swagger UI's newest version in its package."""
    vendor = Path(str(files("swagger_ui_bundle") / "vendor"))
    return max(vendor.iterdir(), key=lambda folder: folder.name)
