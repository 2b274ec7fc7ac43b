"""Routes of the page: runs, one run, its trials and their logs, and runs side by side."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from app.report import STATIC as REPORT_STATIC
from app.run import comparison, store, summaries
from app.run.errors import JournalError
from app.run.formatting import configuration, duration, number
from app.run.store import Run, StoreError
from app.storage.remote_folder import StorageError
from app.storage.working_copy import location
from app.watch import STATIC, streams
from app.watch.snapshot import Snapshot, describe_now, environment, key_of, take, trial
from app.watch.snapshots import Snapshots

HEADERS = {
    # plotly.js writes styles into elements; scripts are files of ours alone.
    "content-security-policy": "default-src 'none'; script-src 'self'; connect-src 'self';"
    " style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; base-uri 'none';"
    " form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
KNOWN_ERRORS = (StoreError, JournalError, StorageError)


class Pages:
    """Pages of the runs in one place."""

    def __init__(self, runs: Path, dashboard: str | None = None) -> None:
        """Take the folder with the runs, and the address of Ray's dashboard to link to."""
        self._runs = runs
        self._templates = environment()
        self._templates.globals.update(place=location(runs), dashboard=dashboard)
        self._snapshots = Snapshots(partial(take, templates=self._templates))

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/", self.list_runs),
            Route("/compare", self.compare),
            Route("/runs/{name}", self.show_run),
            Route("/runs/{name}/body", self.send_body),
            Route("/runs/{name}/figures", self.send_figures),
            Route("/runs/{name}/events", self.follow_run),
            Route("/runs/{name}/trials/{trial}", self.show_trial),
            Route("/runs/{name}/trials/{trial}/log", self.follow_log),
        ]

    async def list_runs(self, request: Request) -> Response:
        """Show all runs, the newest first."""
        return await self._page("runs.html", lambda: {"rows": self._rows()})

    async def compare(self, request: Request) -> Response:
        """Show the runs that the query names side by side."""
        names = request.query_params.getlist("name")
        return await self._page("compare.html", lambda: self._compared(names))

    async def show_run(self, request: Request) -> Response:
        """Show one run; a name that only begins so leads to the whole one."""
        folder = await self._find(request)
        if folder.name != request.path_params["name"]:
            return RedirectResponse(f"/runs/{folder.name}")
        found = await self._snapshots.get(folder)
        body = await anyio.to_thread.run_sync(self._body, found)
        values = {"name": folder.name, "body": body, "seen": key_of(found.version)}
        return self._render("run.html", values)

    async def send_body(self, request: Request) -> Response:
        """Send a run's facts alone, for a page that shows it already."""
        found = await self._snapshots.get(await self._find(request))
        body = await anyio.to_thread.run_sync(self._body, found)
        return HTMLResponse(body, headers=HEADERS)

    async def send_figures(self, request: Request) -> Response:
        """Send a run's figures."""
        found = await self._snapshots.get(await self._find(request))
        return Response(found.figures, media_type="application/json", headers=HEADERS)

    async def follow_run(self, request: Request) -> Response:
        """Say when a run has changed, and how long it still takes, until the browser goes."""
        folder = await self._find(request)
        found = await self._snapshots.get(folder)
        seen = _last_id(request) or key_of(found.version)

        def describe() -> tuple[str, float]:
            last = self._snapshots.last(folder) or found
            return describe_now(last, self._templates), last.took_s

        return _stream(streams.changes(folder, seen, describe))

    async def show_trial(self, request: Request) -> Response:
        """Show a trial: its configuration, its metrics by epoch, and its log."""
        folder = await self._find(request)
        asked = request.path_params["trial"]
        return await self._page("trial.html", lambda: _trial(store.read(folder), asked))

    async def follow_log(self, request: Request) -> Response:
        """Send a trial's log as it grows, until the browser goes."""
        folder = await self._find(request)
        run = await anyio.to_thread.run_sync(store.read, folder)
        trial_id = store.find_trial(run, request.path_params["trial"])
        return _stream(streams.log(folder, trial_id, _last_id(request)))

    async def _find(self, request: Request) -> Path:
        name = request.path_params["name"]
        return await anyio.to_thread.run_sync(store.find_folder, self._runs, name)

    def _body(self, found: Snapshot) -> str:
        return found.heading + describe_now(found, self._templates) + found.facts

    def _rows(self) -> list[dict[str, Any]]:
        return [_row(row) for row in summaries.summaries(self._runs)]

    def _compared(self, names: list[str]) -> dict[str, Any]:
        if len(names) < 2:
            raise StoreError("compare: choose two runs or more")
        compared = comparison.compare([store.find(self._runs, name) for name in names])
        names = [outcome["name"] for outcome in compared["runs"]]
        rows = list(comparison.cells(compared))
        return {"names": names, "rows": rows, "remarks": list(comparison.remarks(compared))}

    async def _page(self, template: str, read: Callable[[], dict[str, Any]]) -> Response:
        return self._render(template, await anyio.to_thread.run_sync(read))

    def _render(self, template: str, values: dict[str, Any], status: int = 200) -> Response:
        page = self._templates.get_template(template).render(values)
        return HTMLResponse(page, status, headers=HEADERS)

    async def refuse(self, request: Request, error: Exception) -> Response:
        """Show a known mistake, such as an unknown run, as a sentence."""
        return self._render("error.html", {"message": str(error)}, 404)


def create_app(runs: Path, dashboard: str | None = None) -> Starlette:
    """Build the application for the runs in a folder."""
    pages = Pages(runs, dashboard)
    return Starlette(
        routes=[
            *pages.routes(),
            Mount("/report", StaticFiles(directory=REPORT_STATIC)),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        # A page elsewhere whose name leads here (DNS rebinding) must not read runs.
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])],
        exception_handlers=dict.fromkeys(KNOWN_ERRORS, pages.refuse),
    )


def _last_id(request: Request) -> str:
    """Return the id of the last event that a browser has; it sends the header by itself."""
    after = request.query_params.get("after", "")
    return request.headers.get("last-event-id") or after


def _stream(events: Any) -> Response:
    return StreamingResponse(events, media_type="text/event-stream", headers=HEADERS)


def _row(row: summaries.Row) -> dict[str, Any]:
    """Return a run's row of the list in words."""
    if "error" in row:
        return {"name": row["name"], "status": row["status"], "error": row["error"]}
    best = row["best"]
    value = None if best is None else best["metrics"].get(row["metric"])
    return {
        "name": row["name"],
        "status": str(row["status"]),
        "error": None,
        "began": (row["began"] or "")[:16].replace("T", " "),
        "took": duration(row["seconds"]),
        "trials": f"{row['finished']} of {row['trials']}",
        "best": "" if value is None else f"{row['metric']} {number(value)}",
        "config": "" if best is None else configuration(best["config"]),
    }


def _trial(run: Run, asked: str) -> dict[str, Any]:
    """Return what the page of a trial shows."""
    found = trial(run, asked)
    names = list(dict.fromkeys(name for epoch in found["history"] for name in epoch))
    rows = [
        ["" if epoch.get(name) is None else number(epoch[name]) for name in names]
        for epoch in found["history"]
    ]
    best = run.result["best"]
    return {
        "name": run.name,
        "trial_id": found["trial_id"],
        "status": str(found["status"]),
        "is_best": best is not None and best["trial_id"] == found["trial_id"],
        "config": [(name, number(value)) for name, value in found["config"].items()],
        "error": found["error"],
        "took": duration(found["seconds"]),
        "epochs": found["epochs"],
        "metrics": names,
        "rows": rows,
    }
