"""Uploads of files that have changed, and removal of those that are gone."""

import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from app.storage.remote_folder import RemoteFolder, StorageError

THREADS = 8

Stamp = tuple[int, int]
"""A file's size, and when it was written, in nanoseconds since 1970."""


class Uploader:
    """Uploads files of a folder to a remote one, and remembers which it has."""

    def __init__(self, folder: Path, remote: RemoteFolder) -> None:
        self._folder = folder
        self._remote = remote
        self._uploaded: dict[str, Stamp | None] = {}
        """Files that the remote folder has, with the stamp of the local file it was sent from."""

    def stamps(self, paths: Iterable[Path]) -> dict[str, Stamp]:
        """Return the stamps of those paths that are files, by names in the folder; no links."""
        found = {}
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                if path.is_file() and not path.is_symlink():
                    status = path.stat()
                    name = path.relative_to(self._folder).as_posix()
                    found[name] = (status.st_size, status.st_mtime_ns)
        return found

    def assume(self, remote: Iterable[str], equal: Mapping[str, Stamp]) -> None:
        """Assume files of these names in the remote folder, some of them equal to local ones."""
        self._uploaded = {**dict.fromkeys(remote), **equal}

    def upload(
        self,
        files: Mapping[str, Stamp],
        *,
        last: Sequence[str] = (),
        postponed: Collection[str] = (),
    ) -> None:
        """Upload those of `files` that changed, and remove all others from the remote folder.

        Args:
            files: The files that the remote folder is to have, as `stamps` gives them.
            last: Those that are uploaded one by one, after all others.
            postponed: Names of files and folders that stay as they are there until another time;
                they need not be among `files`.
        """
        waiting = {
            name for name in {*files, *self._uploaded} if name.partition("/")[0] in postponed
        }
        changed = [
            name
            for name, stamp in files.items()
            if self._uploaded.get(name) != stamp and name not in waiting
        ]
        gone = [name for name in self._uploaded if name not in files and name not in waiting]
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(self._upload, [name for name in changed if name not in last]))
            for name in last:
                if name in changed:
                    self._upload(name)
            list(pool.map(self._remote.remove, gone))
        self._uploaded.update({name: files[name] for name in changed})
        for name in gone:
            del self._uploaded[name]

    def _upload(self, name: str) -> None:
        try:
            self._remote.upload(self._folder / name, name)
        except FileNotFoundError as error:
            # A file that is gone meanwhile is removed the next time.
            if (self._folder / name).exists():
                uri = self._remote.uri
                raise StorageError(f"--runs: cannot write {uri}: {error}") from error
