"""Channels of data: folders that are there, and what each node fetches from a URI, once for all."""

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
from trainables.script.uri import opened, reason

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo, FileSystem

WITH_BUCKETS = ("s3", "gcs")


@dataclass(frozen=True)
class Channel:
    """A channel of a run's scripts."""

    name: str
    place: str
    """A folder or a file, or the URI of one."""
    version: str | None = None
    """Of what was at the URI when the run began; a folder has none."""

    def folder(self) -> Path:
        """Where this node has the data, once it is there whole: a folder, or a file of one's own.

        Raises TrainableError.
        """
        if self.version is None:
            return self._shared()
        kept = cache() / self.version
        if not kept.is_dir():
            with _told(self.name, self.place), alone(kept):
                if not kept.is_dir():  # another may have fetched it meanwhile
                    self._fetch(kept)
        return kept

    def _shared(self) -> Path:
        place = Path(self.place)
        if not place.exists():
            raise TrainableError(
                f"inputs.{self.name}: nothing at {place} on {socket.gethostname()};"
                " share it with all nodes, or give a URI"
            )
        return place

    def _fetch(self, kept: Path) -> None:
        partial = kept.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)  # of whoever was killed here
        try:
            source = Source.at(self.name, self.place)
            if source.version != self.version:
                raise TrainableError(
                    f"inputs.{self.name}: what is at {self.place} has changed since the run began;"
                    " begin a new run"
                )
            source.copy_to(partial)
            partial.rename(kept)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@dataclass(frozen=True)
class Source:
    """What is at a URI now."""

    place: str
    system: "FileSystem"
    path: str
    """The folder or the file, by the system's own name."""
    files: "dict[str, FileInfo]"
    """By their paths, seen from the folder."""

    @classmethod
    def at(cls, name: str, place: str) -> "Source":
        """Look there for a channel; raises TrainableError where there is nothing."""
        system, path = opened(place)
        if not path:
            raise TrainableError(f"inputs.{name}: {place} is all that is there; name a folder")
        source = cls(place, system, path, _files(system, path))
        if not source.files:
            raise TrainableError(f"inputs.{name}: there is nothing at {place}{source._bucket()}")
        for each in source.files:
            if ".." in PurePosixPath(each).parts:
                raise TrainableError(f"inputs.{name}: {place} has a file called {each!r}")
        return source

    @property
    def version(self) -> str:
        """Another one once a file has come, gone or changed in size or time."""
        listing = [(name, each.size, each.mtime_ns) for name, each in sorted(self.files.items())]
        return hashlib.sha256(json.dumps([self.place, listing]).encode()).hexdigest()

    def copy_to(self, folder: Path) -> None:
        """Copy all files into a new folder, and wait until they are on the disk."""
        from pyarrow.fs import LocalFileSystem, copy_files

        folder.mkdir()
        is_file = self.path in {each.path for each in self.files.values()}
        target = folder / PurePosixPath(self.path).name if is_file else folder
        copy_files(self.path, str(target), self.system, LocalFileSystem())
        for name, each in self.files.items():
            copy = folder / name
            if not copy.is_file() or copy.stat().st_size != each.size:
                raise OSError(f"{name} did not arrive whole")
            copy.chmod(0o444)  # all trials of this node read this one
        os.sync()

    def _bucket(self) -> str:
        bucket = self.path.partition("/")[0]
        if self.system.type_name not in WITH_BUCKETS or not bucket:
            return ""
        is_there = self.system.get_file_info(bucket).type.name != "NotFound"
        return "" if is_there else f": there is no bucket {bucket!r}"


def channel(name: str, place: str) -> Channel:
    """The channel as it is now; raises TrainableError where a URI has nothing to be read."""
    if "://" not in place:
        return Channel(name, place)
    with _told(name, place):
        return Channel(name, place, Source.at(name, place).version)


def folders(channels: Sequence[Channel]) -> dict[str, str]:
    """Where this node has each channel's data, by its name; raises TrainableError."""
    return {each.name: str(each.folder()) for each in channels}


def cache() -> Path:
    """The folder of this node that keeps what was fetched, for later runs too."""
    given = os.environ.get("XDG_CACHE_HOME")
    folder = Path(given or os.path.expanduser("~/.cache"))  # noqa: PTH111 - which raises
    nearest = next(each for each in (folder, *folder.parents) if each.exists())
    # In a container with a user of its own there may be no home, or none to write in.
    is_home = given is not None or (folder.is_absolute() and os.access(nearest, os.W_OK))
    return (folder.resolve() / "tuneport" if is_home else temporary()) / "channels"


def temporary() -> Path:
    """A folder that only this user writes in, among the temporary ones; raises TrainableError."""
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
    return {each.path[len(path) :].lstrip("/"): each for each in below if each.is_file}


@contextmanager
def alone(kept: Path) -> Iterator[None]:
    """Meanwhile nobody else fetches the same."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _told(name: str, place: str) -> Iterator[None]:
    """What a file system raises, as a sentence about the channel."""
    from pyarrow import ArrowException

    try:
        yield
    except (OSError, ArrowException) as error:
        raise TrainableError(f"inputs.{name}: cannot read {place}: {reason(error)}") from error
