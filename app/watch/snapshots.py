"""Pages of runs as they were last made: browsers that ask at once share one."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import anyio.to_thread

from app.watch.snapshot import Snapshot, version

MAX_SNAPSHOTS = 8
"""Runs whose page is kept until they change."""


@dataclass
class _Entry:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """A slow run, such as one in a bucket, keeps those waiting who ask for it, and nobody else."""
    snapshot: Snapshot | None = None


class Snapshots:
    """The snapshots of runs, made again when the run has changed."""

    def __init__(self, make: Callable[[Path], Snapshot]) -> None:
        self._make = make
        self._entries: OrderedDict[Path, _Entry] = OrderedDict()

    async def get(self, folder: Path) -> Snapshot:
        """Return the page of a run as it is now; raises StoreError, JournalError, StorageError."""
        entry = self._entries.setdefault(folder, _Entry())
        self._entries.move_to_end(folder)
        if len(self._entries) > MAX_SNAPSHOTS:
            self._entries.popitem(last=False)
        async with entry.lock:
            entry.snapshot = await anyio.to_thread.run_sync(self._renew, folder, entry.snapshot)
            return entry.snapshot

    def last(self, folder: Path) -> Snapshot | None:
        """Return the page of a run as it was last made; None where it is no longer kept."""
        entry = self._entries.get(folder)
        return None if entry is None else entry.snapshot

    def _renew(self, folder: Path, last: Snapshot | None) -> Snapshot:
        if last is not None and last.version == version(folder):
            return last
        return self._make(folder)
