"""A folder behind a URI, read and written by pyarrow's file systems."""

import secrets
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from app.storage.files import new_folder
from trainables.script.uri import describe_error, open_uri, with_environment_keys

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo, FileSystem

OBJECT_STORES = ("s3", "gcs")
"""File systems without folders, by pyarrow's names."""
CLOCK = ".clock-"
"""Begins the names of files that are written to read the store's clock."""

Result = TypeVar("Result")


class StorageError(Exception):
    """A folder behind a URI cannot be read or written, in one sentence."""


@dataclass(frozen=True)
class RemoteFolder:
    """A folder behind a URI; names of its files are relative to it.

    Its methods raise StorageError where the store refuses or cannot be reached.
    """

    uri: str
    system: "FileSystem"
    path: str
    """The folder's path in the file system."""

    @classmethod
    def open(cls, uri: str) -> "RemoteFolder":
        """Open the folder at a URI; raises StorageError where that is none."""
        from pyarrow import ArrowException

        try:
            system, path = open_uri(uri)
        except (OSError, ArrowException) as error:
            raise StorageError(f"--runs: cannot use {uri}: {describe_error(error)}") from error
        if not path:
            raise StorageError(f"--runs: {uri} is all that is there; name a folder in it")
        return cls(uri, system, path)

    def with_keys(self) -> "RemoteFolder":
        """Return the folder with this process's keys, so that another node can open it."""
        return RemoteFolder(self.uri, with_environment_keys(self.system), self.path)

    def subfolder(self, name: str) -> "RemoteFolder":
        """Return a folder in it, which need not exist."""
        return RemoteFolder(join(self.uri, name), self.system, f"{self.path}/{name}")

    def check_bucket(self) -> None:
        """Raise StorageError where the folder is in a bucket that does not exist."""
        if self.system.type_name not in OBJECT_STORES:
            return
        bucket = self.path.partition("/")[0]
        (info,) = self._call("read", lambda: self.system.get_file_info([bucket]))
        if info.type.name == "NotFound":
            raise StorageError(f"--runs: {self.uri}: there is no bucket {bucket!r}")

    def read(self, name: str) -> bytes | None:
        """Return a file's content; None if there is no such file."""

        def read() -> bytes:
            with self.system.open_input_stream(f"{self.path}/{name}") as file:
                return bytes(file.read())

        try:
            return self._call("read", read)
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Replace a file as a whole."""

        def write() -> None:
            target = self._target(name)
            with self.system.open_output_stream(target) as file:
                file.write(content)

        self._call("write", write)

    def upload(self, source: Path, name: str) -> None:
        """Replace a file by a local one, or add the files of a local folder to a folder."""
        from pyarrow.fs import LocalFileSystem, copy_files

        def upload() -> None:
            # A folder's files need that folder itself, a file the one that it is in.
            target = self._target(f"{name}/" if source.is_dir() else name)
            copy_files(str(source), target, LocalFileSystem(), self.system)

        self._call("write", upload)

    def download(self, name: str, target: Path) -> bool:
        """Replace a local folder by the one of that name; returns whether there is one.

        The local folder is replaced as a whole, and removed where there is none of that name.
        """
        from pyarrow.fs import LocalFileSystem, copy_files

        source = self.subfolder(name)
        if not source.names():
            shutil.rmtree(target, ignore_errors=True)
            return False
        with new_folder(target) as partial:
            there, here = source.system, LocalFileSystem()
            self._call("read", lambda: copy_files(source.path, str(partial), there, here))
            shutil.rmtree(target, ignore_errors=True)
        return True

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        with suppress(FileNotFoundError):
            self._call("write", lambda: self.system.delete_file(f"{self.path}/{name}"))

    def delete(self) -> None:
        """Remove this folder with its content if it exists."""
        with suppress(FileNotFoundError):
            self._call("write", lambda: self.system.delete_dir(self.path))

    def remove_folder(self, name: str) -> None:
        """Remove a folder in it with its content if it exists."""
        self.subfolder(name).delete()

    def entries(self, *, recursive: bool) -> "dict[str, FileInfo]":
        """Return what is in it, by name."""
        from pyarrow.fs import FileSelector

        selector = FileSelector(self.path, allow_not_found=True, recursive=recursive)
        found = self._call("read", lambda: self.system.get_file_info(selector))
        return {info.path[len(self.path) :].lstrip("/"): info for info in found}

    def names(self) -> list[str]:
        """Return the names of all files in it; raises StorageError for one that leads out of it."""
        entries = self.entries(recursive=True)
        names = [name for name, info in entries.items() if info.is_file]
        for name in names:
            if ".." in name.split("/"):
                raise StorageError(f"--runs: {self.uri} has a file called {name!r}")
        return names

    def infos(self, *names: str) -> "list[FileInfo]":
        """Return size and time of each of these files."""
        paths = [f"{self.path}/{name}" for name in names]
        return list(self._call("read", lambda: self.system.get_file_info(paths)))

    def age(self, name: str) -> float | None:
        """Return the seconds since a file was written, by the store's clock; None without file."""
        (info,) = self.infos(name)
        if not info.is_file:
            return None
        if self.uri not in _clocks:
            _clocks[self.uri] = self._clock(), time.monotonic()
        clock, read_at = _clocks[self.uri]
        return clock + time.monotonic() - read_at - float(info.mtime_ns) / 10**9

    def _clock(self) -> float:
        """The store's time in seconds since 1970; this machine's where nothing can be written."""
        name = f"{CLOCK}{secrets.token_hex(4)}"
        try:
            self.write(name, b"")
            (info,) = self.infos(name)
            self.remove(name)
        except StorageError:
            return time.time()
        return float(info.mtime_ns) / 10**9

    def _target(self, name: str) -> str:
        """The path for a new file, whose folder is made where the store has folders."""
        target = f"{self.path}/{name}"
        if self.system.type_name not in OBJECT_STORES:
            self.system.create_dir(target.rpartition("/")[0])
        return target

    def _call(self, verb: str, operation: Callable[[], Result]) -> Result:
        """Run `operation`; turn the file system's errors into StorageError, but FileNotFoundError.

        `verb` says in the message what could not be done.
        """
        from pyarrow import ArrowException

        try:
            return operation()
        except FileNotFoundError:
            raise
        except (OSError, ArrowException) as error:
            raise StorageError(
                f"--runs: cannot {verb} {self.uri}: {describe_error(error)}"
            ) from error


def join(uri: str, *names: str) -> str:
    """Return the URI of what is below a folder; the query stays at the end."""
    head, mark, query = uri.partition("?")
    return f"{'/'.join([head.rstrip('/'), *names])}{mark}{query}"


_clocks: dict[str, tuple[float, float]] = {}
"""By URI, the store's time and this process's monotonic time when it was read."""
