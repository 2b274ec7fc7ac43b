"""Files that are sent to a place: those that changed since they were sent, and what went away."""

import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from app.storage.remote_folder import Place, PlaceError

AT_ONCE = 8

Stamp = tuple[int, int]
"""A file's size, and when it was written, in nanoseconds since 1970."""


class Courier:
    """Sends files of a folder to a place, and knows what the place has of them."""

    def __init__(self, folder: Path, place: Place) -> None:
        self.folder = folder
        self.place = place
        self._there: dict[str, Stamp | None] = {}

    def stamps(self, paths: Iterable[Path]) -> dict[str, Stamp]:
        """Which of the paths are files, by their names seen from the folder; no links."""
        found = {}
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                if path.is_file() and not path.is_symlink():
                    status = path.stat()
                    name = path.relative_to(self.folder).as_posix()
                    found[name] = (status.st_size, status.st_mtime_ns)
        return found

    def know(self, there: Iterable[str], same: Mapping[str, Stamp]) -> None:
        """Take it that the place has files of these names, and some that are the same as here."""
        self._there = {**dict.fromkeys(there), **same}

    def send(
        self,
        here: Mapping[str, Stamp],
        *,
        last: Sequence[str] = (),
        not_yet: Collection[str] = (),
    ) -> None:
        """Let the place have what is here: the last ones after all others, some not yet."""
        changed = [name for name, stamp in here.items() if self._there.get(name) != stamp]
        changed = [name for name in changed if name not in not_yet]
        gone = [name for name in self._there if name not in here]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self._send, [name for name in changed if name not in last]))
            for name in last:
                if name in changed:
                    self._send(name)
            list(pool.map(self.place.remove, gone))
        self._there.update({name: here[name] for name in changed})
        self._there = {name: stamp for name, stamp in self._there.items() if name in here}

    def _send(self, name: str) -> None:
        try:
            self.place.send(self.folder / name, name)
        except FileNotFoundError as error:
            if (self.folder / name).exists():
                place = self.place.uri
                raise PlaceError(f"--runs: cannot write {place}: {error}") from error
