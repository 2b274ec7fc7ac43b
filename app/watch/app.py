"""Routes of the page: runs, one run, its trials and their logs, and runs side by side."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from app.report import STATIC as REPORT_STATIC
from app.report.comparison_figures import comparison_figures
from app.report.content import chronology_of
from app.report.page import fetch
from app.run import comparison, store, summaries
from app.run.errors import JournalError
from app.run.store import OUTCOME_FILES, Run, StoreError
from app.storage.remote_folder import StorageError
from app.storage.run_storage import run_storage
from app.storage.working_copy import location
from app.terminal import in_one_line
from app.watch import STATIC, refusals, streams
from app.watch.refusals import Refusal, RefusedError
from app.watch.rows import list_row, trial_page
from app.watch.snapshot import KEY, Snapshot, describe_now, environment, key_of, take
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
KNOWN_ERRORS = (RefusedError, StoreError, JournalError, StorageError, HTTPException)


class Pages:
    """Pages of the runs in one place."""

    def __init__(self, runs: Path, dashboard: str | None = None) -> None:
        """Take the folder with the runs, and the address of Ray's dashboard to link to."""
        self._runs = runs
        self._templates = environment()
        self._templates.globals.update(place=location(runs), dashboard_url=dashboard)
        self._snapshots = Snapshots(partial(take, templates=self._templates))

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/", self.list_runs),
            Route("/compare", self.compare),
            Route("/compare/figures", self.send_comparison),
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
        return await self._page("compare.html", lambda: _compared(self._read(names)))

    async def send_comparison(self, request: Request) -> Response:
        """Send the figures of the runs that the query names."""
        names = request.query_params.getlist("name")
        figures = await anyio.to_thread.run_sync(lambda: _figures_of(self._read(names)))
        return JSONResponse(figures, headers=HEADERS)

    async def show_run(self, request: Request) -> Response:
        """Show one run."""
        folder = await self._find(request)
        found = await self._snapshots.get(folder)
        body = await anyio.to_thread.run_sync(self._body, found)
        values = {"name": folder.name, "body": body, "seen": key_of(found.version)}
        return self._render("run.html", values)

    async def send_body(self, request: Request) -> Response:
        """Send a run's facts alone, for a page that shows it already."""
        found = await self._last(request)
        body = await anyio.to_thread.run_sync(self._body, found)
        return _html(body)

    async def send_figures(self, request: Request) -> Response:
        """Send a run's figures."""
        found = await self._last(request)
        return Response(found.figures, media_type="application/json", headers=HEADERS)

    async def follow_run(self, request: Request) -> Response:
        """Say when a run has changed, and how long it still takes, until the browser goes."""
        folder = await self._find(request)
        seen = _last_id(request)
        if not KEY.fullmatch(seen):
            seen = key_of((await self._snapshots.get(folder)).version)
        describe = partial(describe_now, templates=self._templates)
        return _stream(streams.changes(folder, seen, self._snapshots.get, describe))

    async def show_trial(self, request: Request) -> Response:
        """Show a trial: its configuration, its metrics by epoch, and its log."""
        folder = await self._find(request)
        asked = request.path_params["trial"]
        return await self._page("trial.html", lambda: trial_page(_with_trial(folder, asked), asked))

    async def follow_log(self, request: Request) -> Response:
        """Send a trial's log as it grows, until the browser goes."""
        folder = await self._find(request)
        asked = request.path_params["trial"]
        run = await anyio.to_thread.run_sync(_with_trial, folder, asked)
        trial_id = store.find_trial(run, asked)
        return _stream(streams.log(folder, trial_id, _last_id(request)))

    async def _last(self, request: Request) -> Snapshot:
        """Return the page of a run as it was last seen, without asking its place again."""
        known = self._snapshots.last(self._runs / request.path_params["name"])
        return known or await self._snapshots.get(await self._find(request))

    async def _find(self, request: Request) -> Path:
        return await anyio.to_thread.run_sync(self._find_folder, request.path_params["name"])

    def _find_folder(self, name: str) -> Path:
        """Return the folder of a run; raises RefusedError where there is none.

        By its whole name: the page beside a search is asked for before its run begins, and would
        show one whose name only begins so.
        """
        known = store.names(self._runs)
        if name not in known or not run_storage(self._runs / name).refresh(*OUTCOME_FILES):
            self._list_anew()  # It may have begun, or been deleted, since the last time.
            known = store.names(self._runs)
        if name not in known:
            there = f"are {store.some(known)}" if known else "is none"
            place = location(self._runs)
            raise RefusedError(refusals.NO_RUN, f"no run {name!r} in {place}; there {there}")
        return self._runs / name

    def _list_anew(self) -> None:
        """Bring the list of runs up to date where they are kept behind a URI."""
        place = location(self._runs)
        if "://" in place:
            store.open_runs(place)

    def _body(self, found: Snapshot) -> str:
        return found.heading + describe_now(found, self._templates) + found.facts

    def _rows(self) -> list[dict[str, Any]]:
        self._list_anew()
        return [list_row(row) for row in summaries.summaries(self._runs)]

    def _read(self, names: list[str]) -> list[Run]:
        if len(names) < 2:
            raise RefusedError(refusals.TOO_FEW, "choose two runs or more")
        return [store.read(self._find_folder(name)) for name in names]

    async def _page(self, template: str, read: Callable[[], dict[str, Any]]) -> Response:
        return self._render(template, await anyio.to_thread.run_sync(read))

    def _render(self, template: str, values: dict[str, Any], status: int = 200) -> Response:
        return _html(self._templates.get_template(template).render(values), status)

    async def refuse(self, request: Request, error: Exception) -> Response:
        """Show why a page cannot be shown, in a sentence."""
        refusal, sentence = _why(error)
        values = {**asdict(refusal), "sentence": sentence}
        return self._render("error.html", values, refusal.status)


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
        exception_handlers=dict.fromkeys((*KNOWN_ERRORS, Exception), pages.refuse),
    )


def _why(error: Exception) -> tuple[Refusal, str]:
    """Return the words for an error, and the sentence that says what came."""
    if isinstance(error, RefusedError):
        return error.refusal, str(error)
    if isinstance(error, HTTPException):
        refusal = refusals.NOT_ALLOWED if error.status_code == 405 else refusals.NO_PAGE
        return refusal, error.detail
    if isinstance(error, StorageError):
        return refusals.UNREACHABLE, str(error)
    if isinstance(error, StoreError | JournalError):
        return refusals.UNREADABLE, str(error)
    return refusals.BROKEN, in_one_line(f"{type(error).__name__}: {error}")


def _with_trial(folder: Path, trial_id: str) -> Run:
    """Read a run that has such a trial; raises RefusedError where it has none."""
    run = store.read(folder)
    try:
        store.find_trial(run, trial_id)
    except StoreError as error:
        raise RefusedError(refusals.NO_TRIAL, str(error)) from error
    return run


def _compared(runs: list[Run]) -> dict[str, Any]:
    """Return what the page of runs side by side shows."""
    compared = comparison.compare(runs)
    return {
        "names": [run.name for run in runs],
        "rows": list(comparison.cells(compared)),
        "remarks": list(comparison.remarks(compared)),
        "query": urlencode([("name", run.name) for run in runs]),
    }


def _figures_of(runs: list[Run]) -> dict[str, Any]:
    for run in runs:
        fetch(run)
    return comparison_figures({run.name: (run.result, chronology_of(run)) for run in runs})


def _last_id(request: Request) -> str:
    """Return the id of the last event that a browser has; it sends the header by itself."""
    after = request.query_params.get("after", "")
    return request.headers.get("last-event-id") or after


def _html(text: str, status: int = 200) -> Response:
    # A name or an error may have half of a character.
    return HTMLResponse(text.encode(errors="replace"), status, headers=HEADERS)


def _stream(events: Any) -> Response:
    return StreamingResponse(events, media_type="text/event-stream", headers=HEADERS)
