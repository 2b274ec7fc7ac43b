"""Server-sent events: that a run has changed or is gone, its time, and a trial's log as it grows.

The id of an event says what a browser has; it sends the last one when it asks again.
"""

import asyncio
import codecs
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import anyio.to_thread

from app.run import store
from app.run.errors import JournalError
from app.run.store import OUTCOME_FILES, StoreError
from app.storage.remote_folder import StorageError
from app.storage.run_storage import run_storage
from app.storage.working_copy import location
from app.watch.snapshot import Snapshot, key_of

LOOK_S = 1.0
"""Seconds between looks at a folder that a browser watches."""
LOOK_REMOTE_S = 5.0
"""The same behind a URI."""
NOW_S = 5.0
"""Seconds between looks at the clock and for endpoints."""
LOG_BYTES = 2**16
"""Bytes of a log that are sent at a time; of a long one, these at its end come first."""
OFFSET = re.compile(r"\d{1,18}", re.ASCII)
"""The id of a piece of a log: the bytes of the log up to its end."""
ALIVE = ": alive\n\n"
"""Comment that finds out whether the browser is still there."""
GONE = "event: gone\ndata: {}\n\n"
"""The run was deleted or moved; nothing comes after it."""
RESET = "event: reset\nid: 0\ndata: {}\n\n"
"""The log begins anew: it became shorter than what the browser has of it."""
ALIVE_S = 15.0


async def changes(
    folder: Path,
    seen: str,
    get: Callable[[Path], Awaitable[Snapshot]],
    describe: Callable[[Snapshot], str],
) -> AsyncIterator[str]:
    """Yield an event whenever there is a new page of a run, and one when the run is gone.

    Another one has the lines that change without the run's files.

    Args:
        folder: The run's.
        seen: Key of the version that the browser has.
        get: Makes the run's page, or returns the last one where it was made a moment ago.
        describe: Returns these lines as HTML.
    """
    look_s, told, now_at, alive_at = _look_s(folder), "", 0.0, 0.0
    while True:
        if not await anyio.to_thread.run_sync(_refresh, folder):
            yield GONE
            return
        # While it cannot be read, the page stays as it is.
        with suppress(StoreError, JournalError, StorageError):
            found = await get(folder)
            if key_of(found.version) != seen:
                seen, told, now_at = key_of(found.version), "", 0.0
                yield f"event: change\nid: {seen}\ndata: {{}}\n\n"
            at = time.monotonic()
            if at >= now_at:
                now_at = at + NOW_S
                now = await anyio.to_thread.run_sync(describe, found)
                if now != told or at >= alive_at:
                    told, alive_at = now, at + ALIVE_S
                    yield f"event: now\nid: {seen}\ndata: {json.dumps(now)}\n\n"
        await asyncio.sleep(look_s)


async def log(folder: Path, trial_id: str, after: str) -> AsyncIterator[str]:
    """Yield a trial's log as it grows: from its end on, or `after` the id of an earlier piece."""
    offset = int(after) if OFFSET.fullmatch(after) else None
    while True:
        piece = await anyio.to_thread.run_sync(_read_log, folder, trial_id, offset)
        if piece is None:
            yield GONE
            return
        if piece.is_reset:
            yield RESET
        offset = piece.end
        yield f"id: {offset}\ndata: {json.dumps(piece.text)}\n\n" if piece.text else ALIVE
        if not piece.text:
            await asyncio.sleep(_look_s(folder))


class Piece(NamedTuple):
    """A piece of a log."""

    text: str
    end: int | None
    """Bytes of the log up to its end; None where nothing was read yet."""
    is_reset: bool = False
    """Whether the log became shorter, so that the piece is not the next one."""


def _refresh(folder: Path) -> bool:
    """Bring a run's outcome up to date where it is behind a URI; returns whether the run exists."""
    try:
        return run_storage(folder).refresh(*OUTCOME_FILES)
    except StorageError:
        return store.exists(folder)  # The next look may find its place again.


def _read_log(folder: Path, trial_id: str, offset: int | None) -> Piece | None:
    """Read a log from there on, or its end; a character that is half written waits.

    Returns None where the run is gone.
    """
    try:
        if not _refresh(folder):
            return None
        path = store.download_log(folder, trial_id)
        # Opening a pipe that somebody laid there would wait for its writer.
        if not path.is_file():
            return Piece("", offset)
        with path.open("rb") as file:
            size = file.seek(0, 2)
            is_reset = offset is not None and size < offset
            at = max(0, size - LOG_BYTES) if offset is None or is_reset else offset
            file.seek(at)
            content = file.read(LOG_BYTES)
    except (OSError, StorageError, StoreError):
        return Piece("", offset)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(content)
    waiting, _ = decoder.getstate()
    return Piece(text, at + len(content) - len(waiting), is_reset)


def _look_s(folder: Path) -> float:
    return LOOK_REMOTE_S if "://" in location(folder) else LOOK_S
