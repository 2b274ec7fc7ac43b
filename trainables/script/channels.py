"""Channels of data: local folders, and URIs, which each node fetches once for all trials."""

import fcntl
import hashlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from trainables.contract import TrainableError
from trainables.script.uri import describe_error, open_uri

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo, FileSystem

WITH_BUCKETS = ("s3", "gcs")


@dataclass(frozen=True)
class Channel:
    """A channel of data, as a run's scripts read it."""

    name: str
    place: str
    """A folder or a file, or the URI of one."""
    version: str | None = None
    """Digest of the files at the URI when the run began; None for a folder."""

    def folder(self) -> Path:
        """Return this node's copy of the data, a folder or a local file; fetch it where needed.

        Raises TrainableError where it cannot be read, or has changed since the run began.
        """
        if self.version is None:
            return self._local()
        copy = cache_folder() / self.version
        if not copy.is_dir():
            with _storage_errors(self.name, self.place), locked(copy):
                if not copy.is_dir():  # another trial may have fetched it meanwhile
                    self._fetch(copy)
        return copy

    def _local(self) -> Path:
        place = Path(self.place)
        if not place.exists():
            raise TrainableError(
                f"inputs.{self.name}: nothing at {place} on {socket.gethostname()};"
                " share it with all nodes, or give a URI"
            )
        return place

    def _fetch(self, copy: Path) -> None:
        partial = copy.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)  # left by a process that was killed
        try:
            source = Source.at(self.name, self.place)
            if source.version != self.version:
                raise TrainableError(
                    f"inputs.{self.name}: what is at {self.place} has changed since the run began;"
                    " begin a new run"
                )
            source.copy_to(partial)
            partial.rename(copy)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@dataclass(frozen=True)
class Source:
    """The files at a URI, as they are now."""

    place: str
    system: "FileSystem"
    path: str
    """Path of the folder or file in the file system."""
    files: "dict[str, FileInfo]"
    """Files by their paths in the folder."""

    @classmethod
    def at(cls, name: str, place: str) -> "Source":
        """List the files of a channel; raises TrainableError where there are none."""
        system, path = open_uri(place)
        if not path:
            raise TrainableError(f"inputs.{name}: {place} is all that is there; name a folder")
        source = cls(place, system, path, _files(system, path))
        if not source.files:
            raise TrainableError(f"inputs.{name}: there is nothing at {place}{source._bucket()}")
        for file in source.files:
            if ".." in PurePosixPath(file).parts:
                raise TrainableError(f"inputs.{name}: {place} has a file called {file!r}")
        return source

    @property
    def version(self) -> str:
        """Digest of the files' paths, sizes and times."""
        listing = [(name, file.size, file.mtime_ns) for name, file in sorted(self.files.items())]
        return hashlib.sha256(json.dumps([self.place, listing]).encode()).hexdigest()

    def copy_to(self, folder: Path) -> None:
        """Copy all files into a new folder, and sync them to its disk."""
        from pyarrow.fs import LocalFileSystem, copy_files

        folder.mkdir()
        is_file = self.path in {file.path for file in self.files.values()}
        target = folder / PurePosixPath(self.path).name if is_file else folder
        copy_files(self.path, str(target), self.system, LocalFileSystem())
        for name, file in self.files.items():
            copy = folder / name
            if not copy.is_file() or copy.stat().st_size != file.size:
                raise OSError(f"{name} did not arrive whole")
            copy.chmod(0o444)  # all trials on this node read it
        os.sync()

    def _bucket(self) -> str:
        bucket = self.path.partition("/")[0]
        if self.system.type_name not in WITH_BUCKETS or not bucket:
            return ""
        is_there = self.system.get_file_info(bucket).type.name != "NotFound"
        return "" if is_there else f": there is no bucket {bucket!r}"


def open_channel(name: str, place: str) -> Channel:
    """Make a channel of a folder, file or URI; raises TrainableError where a URI has no files."""
    if "://" not in place:
        return Channel(name, place)
    with _storage_errors(name, place):
        return Channel(name, place, Source.at(name, place).version)


def fetch_folders(channels: Sequence[Channel]) -> dict[str, str]:
    """Return this node's copies of the channels by name; raises TrainableError."""
    return {channel.name: str(channel.folder()) for channel in channels}


def cache_folder() -> Path:
    """Return the folder of this node for fetched data, which later runs use too."""
    given = os.environ.get("XDG_CACHE_HOME")
    folder = Path(given or os.path.expanduser("~/.cache"))  # noqa: PTH111 - which raises
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    # A container's user may have no home, or none to write in.
    is_home = given is not None or (folder.is_absolute() and os.access(nearest, os.W_OK))
    return (folder.resolve() / "tuneport" if is_home else temporary_folder()) / "channels"


def temporary_folder() -> Path:
    """Return a temporary folder that only this user can write in; raises TrainableError."""
    folder = Path(tempfile.gettempdir(), f"tuneport-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise TrainableError(f"{folder} is somebody else's; set XDG_CACHE_HOME to one of yours")
    return folder


def _files(system: "FileSystem", path: str) -> "dict[str, FileInfo]":
    from pyarrow.fs import FileSelector

    at = system.get_file_info(path)
    if at.is_file:
        return {at.base_name: at}
    below = system.get_file_info(FileSelector(path, allow_not_found=True, recursive=True))
    return {file.path[len(path) :].lstrip("/"): file for file in below if file.is_file}


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock for fetching a folder, for all processes of this node."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _storage_errors(name: str, place: str) -> Iterator[None]:
    """Turn errors of a file system into a TrainableError that names the channel."""
    from pyarrow import ArrowException

    try:
        yield
    except (OSError, ArrowException) as error:
        raise TrainableError(
            f"inputs.{name}: cannot read {place}: {describe_error(error)}"
        ) from error
