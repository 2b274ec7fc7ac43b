"""Pages of runs as they were last made: browsers that ask at once, or soon after, share one."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import anyio.to_thread

from app.watch.snapshot import Snapshot, Version, version

MAX_SNAPSHOTS = 8
"""Runs whose page is kept until they change."""
MAX_SHARE = 0.03
"""Part of a core that may go into making the page of a run that goes on again and again."""


@dataclass
class _Entry:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """A slow run, such as one in a bucket, keeps those waiting who ask for it, and nobody else."""
    snapshot: Snapshot | None = None
    renew_at: float = 0.0
    """The time from which it may be made again."""


class Snapshots:
    """The snapshots of runs, made again when the run has changed."""

    def __init__(self, make: Callable[[Path], Snapshot], max_share: float = MAX_SHARE) -> None:
        self._make = make
        self._max_share = max_share
        self._entries: OrderedDict[Path, _Entry] = OrderedDict()

    async def get(self, folder: Path) -> Snapshot:
        """Return the page of a run as it is now, or was a moment ago.

        Raises StoreError, JournalError or StorageError.
        """
        entry = self._entries.setdefault(folder, _Entry())
        self._entries.move_to_end(folder)
        if len(self._entries) > MAX_SNAPSHOTS:
            self._entries.popitem(last=False)
        async with entry.lock:
            return await anyio.to_thread.run_sync(self._renew, folder, entry)

    def last(self, folder: Path) -> Snapshot | None:
        """Return the page that `get` returned last, so that its parts are of one moment."""
        entry = self._entries.get(folder)
        return None if entry is None else entry.snapshot

    def _renew(self, folder: Path, entry: _Entry) -> Snapshot:
        last = entry.snapshot
        if last is not None and _is_good(last, version(folder), entry.renew_at):
            return last
        entry.snapshot = made = self._make(folder)
        entry.renew_at = time.monotonic() + made.took_s / self._max_share
        return made


def _is_good(last: Snapshot, now: Version, renew_at: float) -> bool:
    # That a run has ended is seen at once.
    is_young = last.version[0] == now[0] and time.monotonic() < renew_at
    return last.version == now or is_young
