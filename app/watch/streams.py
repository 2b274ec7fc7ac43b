"""Server-sent events: that a run has changed, and a trial's log as it grows."""

import asyncio
import codecs
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import anyio.to_thread

from app.run import store
from app.run.store import StoreError
from app.storage.remote_folder import StorageError
from app.storage.run_storage import run_storage
from app.storage.working_copy import location
from app.watch.snapshot import FILES, Version, key_of, version

LOOK_S = 1.0
"""Seconds between looks at a folder that a browser watches."""
LOOK_REMOTE_S = 5.0
"""The same behind a URI."""
MAX_SHARE = 0.04
"""Part of a core that may go into making a page again and again."""
LOG_BYTES = 2**16
"""Bytes of a log that are sent at a time; of a long one, these at its end come first."""
ALIVE = ": alive\n\n"
"""Comment that finds out whether the browser is still there."""
ALIVE_S = 15.0


async def changes(folder: Path, seen: str, took_s: float) -> AsyncIterator[str]:
    """Yield an event whenever a run has changed since `seen`.

    Args:
        folder: The run's.
        seen: Key of the version that the browser has.
        took_s: Seconds that making its page took, for which it is not asked to come too often.
    """
    wait_s, idle_s = max(_look_s(folder), took_s / MAX_SHARE), 0.0
    while True:
        await asyncio.sleep(wait_s)
        now = key_of(await anyio.to_thread.run_sync(_refreshed_version, folder))
        if now != seen:
            seen, idle_s = now, 0.0
            yield "event: change\ndata: {}\n\n"
        elif (idle_s := idle_s + wait_s) > ALIVE_S:
            idle_s = 0.0
            yield ALIVE


async def log(folder: Path, trial_id: str) -> AsyncIterator[str]:
    """Yield a trial's log, from its end on, as it grows."""
    offset: int | None = None
    while True:
        offset, text = await anyio.to_thread.run_sync(_read_log, folder, trial_id, offset)
        yield f"data: {json.dumps(text)}\n\n" if text else ALIVE
        if not text:
            await asyncio.sleep(_look_s(folder))


def _refreshed_version(folder: Path) -> Version:
    # Where the place cannot be read, the page stays as it is: the next look may find it again.
    with suppress(StorageError):
        run_storage(folder).refresh(*FILES[:2])
    return version(folder)


def _read_log(folder: Path, trial_id: str, offset: int | None) -> tuple[int, str]:
    """Read a log from there on, or its end; a character that is half written waits."""
    try:
        path = store.download_log(folder, trial_id)
        with path.open("rb") as file:
            size = file.seek(0, 2)
            start = file.seek(max(0, size - LOG_BYTES) if offset is None else offset)
            content = file.read(LOG_BYTES)
    except (OSError, StorageError, StoreError):
        return offset or 0, ""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(content)
    waiting, _ = decoder.getstate()
    return start + len(content) - len(waiting), text


def _look_s(folder: Path) -> float:
    return LOOK_REMOTE_S if "://" in location(folder) else LOOK_S
