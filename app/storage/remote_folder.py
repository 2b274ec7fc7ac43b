"""Places for runs behind a URI: a folder here is worked on, and what counts of it is kept there."""

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from app.storage.json_fields import NEEDED, Fields, is_count, whole
from trainables.script.channels import cache
from trainables.script.uri import opened, reason, with_keys

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo, FileSystem

MARK = ".place"
"""The file in a working folder that says which place it is of."""
OBJECTS = ("s3", "gcs")
"""File systems that are none: buckets of objects."""
SHOWN = ("experiment.json", "result.json")
"""What is known here of every run; the rest is fetched when it is needed."""
FRESH_S = 5.0
"""What is younger may have been replaced with no change in its time or size."""

Done = TypeVar("Done")


class PlaceError(Exception):
    """A place that cannot be read or written, in one sentence."""


@dataclass(frozen=True)
class Place:
    """What is behind a URI, or below it."""

    uri: str
    system: "FileSystem"
    path: str

    def with_keys(self) -> "Place":
        """The place as another node can use it, by the keys that this process has for it."""
        return Place(self.uri, with_keys(self.system), self.path)

    def below(self, name: str) -> "Place":
        """A folder in it."""
        head, mark, query = self.uri.partition("?")
        return Place(f"{head.rstrip('/')}/{name}{mark}{query}", self.system, f"{self.path}/{name}")

    def read(self, name: str) -> bytes | None:
        """A file's content; None where there is no such file."""

        def content() -> bytes:
            with self.system.open_input_stream(f"{self.path}/{name}") as file:
                return bytes(file.read())

        try:
            return self.told("read", content)
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Replace a file as a whole."""

        def write() -> None:
            target = self._target(name)
            with self.system.open_output_stream(target) as file:
                file.write(content)

        self.told("write", write)

    def send(self, source: Path, name: str) -> None:
        """Replace a file by one that is here, or what a folder has of the files of one here."""
        from pyarrow.fs import LocalFileSystem, copy_files

        def send() -> None:
            target = self._target(name)
            copy_files(str(source), target, LocalFileSystem(), self.system)

        self.told("write", send)

    def fetch(self, name: str, target: Path) -> bool:
        """Have a folder here as it is there now, whole or not at all; whether there is one."""
        from pyarrow.fs import LocalFileSystem, copy_files

        source = self.below(name)
        names = source.names()
        partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
        try:
            if names:
                partial.mkdir(parents=True)
                here, there = LocalFileSystem(), source.system
                self.told("read", lambda: copy_files(source.path, str(partial), there, here))
            shutil.rmtree(target, ignore_errors=True)
            if names:
                partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return bool(names)

    def remove_folder(self, name: str) -> None:
        """Remove a folder with all that is in it, where it is there."""
        with suppress(FileNotFoundError):
            self.told("write", lambda: self.system.delete_dir(f"{self.path}/{name}"))

    def _target(self, name: str) -> str:
        """Where a file is written; among objects no folder needs to be made for it."""
        target = f"{self.path}/{name}"
        if self.system.type_name not in OBJECTS:
            self.system.create_dir(target.rpartition("/")[0])
        return target

    def remove(self, name: str) -> None:
        """Remove a file, where it is there."""
        with suppress(FileNotFoundError):
            self.told("write", lambda: self.system.delete_file(f"{self.path}/{name}"))

    def files(self, *, below: bool) -> "dict[str, FileInfo]":
        """What is in it, all the way down or not, by its name seen from here."""
        from pyarrow.fs import FileSelector

        selector = FileSelector(self.path, allow_not_found=True, recursive=below)
        found = self.told("read", lambda: self.system.get_file_info(selector))
        return {each.path[len(self.path) :].lstrip("/"): each for each in found}

    def names(self) -> list[str]:
        """The names of all files in it, seen from here; raises PlaceError for one outside it."""
        names = [name for name, each in self.files(below=True).items() if each.is_file]
        for name in names:
            if ".." in name.split("/"):
                raise PlaceError(f"--runs: {self.uri} has a file called {name!r}")
        return names

    def infos(self, *names: str) -> "list[FileInfo]":
        """What is known of these files."""
        paths = [f"{self.path}/{name}" for name in names]
        return list(self.told("read", lambda: self.system.get_file_info(paths)))

    def age(self, name: str) -> float | None:
        """Seconds since a file was written, by the place's own time; None where there is none."""
        (info,) = self.infos(name)
        if not info.is_file:
            return None
        if self.uri not in _clocks:
            _clocks[self.uri] = self._clock(), time.monotonic()
        shown, then = _clocks[self.uri]
        return shown + time.monotonic() - then - float(info.mtime_ns) / 10**9

    def _clock(self) -> float:
        """The place's time, in seconds since 1970; this machine's where it cannot be written."""
        name = f"{CLOCK}{secrets.token_hex(4)}"
        try:
            self.write(name, b"")
            (info,) = self.infos(name)
            self.remove(name)
        except PlaceError:
            return time.time()
        return float(info.mtime_ns) / 10**9

    def told(self, what: str, act: Callable[[], Done]) -> Done:
        """What an act on the file system gives; raises PlaceError for what that raises."""
        from pyarrow import ArrowException

        try:
            return act()
        except FileNotFoundError:
            raise
        except (OSError, ArrowException) as error:
            raise PlaceError(f"--runs: cannot {what} {self.uri}: {reason(error)}") from error


def behind(uri: str) -> Place:
    """The place at a URI; raises PlaceError where it cannot be."""
    from pyarrow import ArrowException

    try:
        system, path = opened(uri)
    except (OSError, ArrowException) as error:
        raise PlaceError(f"--runs: cannot use {uri}: {reason(error)}") from error
    if not path:
        raise PlaceError(f"--runs: {uri} is all that is there; name a folder in it")
    return Place(uri, system, path)


def working_folder(uri: str) -> Path:
    """The folder here for the place at a URI, with what that says of its runs now."""
    folder = _working_folders() / hashlib.sha256(uri.encode()).hexdigest()[:16]
    place = behind(uri)
    bucket = place.path.partition("/")[0]
    if place.system.type_name in OBJECTS:
        (info,) = place.told("read", lambda: place.system.get_file_info([bucket]))
        if info.type.name == "NotFound":
            raise PlaceError(f"--runs: {uri}: there is no bucket {bucket!r}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).write_text(uri)
    _refresh_all(place, folder)
    return folder


def place_of(run: Path) -> Place | None:
    """Where the run of this folder is kept; None where that is the folder itself."""
    place = place_of_runs(run.parent)
    return None if place is None else place.below(run.name)


def place_of_runs(folder: Path) -> Place | None:
    """Where the runs in this folder are kept; None where that is the folder itself."""
    if folder.parent != _working_folders():
        return None
    return behind((folder / MARK).read_text())


def shown(path: Path) -> str:
    """A place for runs, or what is in one, as a command names it."""
    folders = _working_folders()
    if folders not in path.parents:
        return str(path)
    place, *below = path.relative_to(folders).parts
    head, mark, query = (folders / place / MARK).read_text().partition("?")
    return f"{'/'.join([head.rstrip('/'), *below])}{mark}{query}"


def _working_folders() -> Path:
    return cache().parent / "runs"


def nodes_folder() -> Path:
    """Where a node works on runs of other nodes, with which it shares no folder."""
    return cache().parent / "nodes"


def is_held_here(run: Path) -> bool:
    """Whether a process on this machine has the run in hand, by the lock of its journal."""
    try:
        file = os.open(run / "journal.jsonl", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def refresh(run: Path, *names: str) -> None:
    """Have here what a run's place says now, unless it is this machine that says it."""
    if not is_held_here(run):
        fetch(run, *names)


def fetch(run: Path, *names: str) -> None:
    """Have here what a run's place says now, where that is behind a URI."""
    place = place_of(run)
    if place is None:
        return
    for name, info in zip(names, place.infos(*names), strict=True):
        if info.is_file:
            _fetch(place, name, run / name, info)


def fetched(run: Path, name: str) -> Path:
    """A folder of a run, here; where a URI keeps it, as it is there now."""
    place = place_of(run)
    if place is not None:
        place.fetch(name, run / name)
    return run / name


def has_folder(run: Path, name: str) -> bool:
    """Whether a run has a folder with something in it, wherever it is kept."""
    place = place_of(run)
    if place is not None:
        return bool(place.below(name).names())
    folder = run / name
    return folder.is_dir() and any(folder.iterdir())


def _refresh_all(place: Place, folder: Path) -> None:
    found = place.files(below=False).items()
    names = [name for name, each in found if not each.is_file and not name.startswith(".")]
    for run in folder.iterdir():
        is_run = run.is_dir() and not run.name.startswith(".")
        if is_run and run.name not in names and not is_held_here(run):
            shutil.rmtree(run, ignore_errors=True)
    shown = _refresh(place, folder, [f"{name}/{file}" for name in names for file in SHOWN])
    # A run whose outcome is gone is told by its journal.
    untold = [name for name in names if f"{name}/{SHOWN[-1]}" not in shown]
    _refresh(place, folder, [f"{name}/journal.jsonl" for name in untold])


def _refresh(place: Place, folder: Path, paths: Sequence[str]) -> set[str]:
    """Fetch these files, but not of runs that this process holds; returns the names that exist."""
    there = set()
    for path, info in zip(paths, place.infos(*paths), strict=True):
        if info.is_file:
            there.add(path)
            if not is_held_here(folder / path.partition("/")[0]):
                _fetch(place, path, folder / path, info)
    return there


def _fetch(place: Place, name: str, target: Path, info: "FileInfo") -> None:
    """Fetch a file that is not here as it is there."""
    with suppress(OSError):
        here = target.stat()
        old = info.mtime_ns < time.time_ns() - FRESH_S * 10**9
        if old and (here.st_size, here.st_mtime_ns) == (info.size, info.mtime_ns):
            return
    content = place.read(name)
    if content is None:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    partial.write_bytes(content)
    os.utime(partial, ns=(info.mtime_ns, info.mtime_ns))
    partial.replace(target)


LEASE = "lease.json"
LEASE_S = 60.0
"""How long a run is in hand after its process was last heard of."""
CLOCK = ".clock-"
"""How the names of files begin that are written for their time alone."""
SAYS: Fields = {
    "holder": (str, NEEDED),
    "machine": (str, NEEDED),
    "host": (str, NEEDED),
    "process": (is_count, NEEDED),
}
"""What a lease says of whoever has a run in hand."""
_clocks: dict[str, tuple[float, float]] = {}
"""What places' clocks showed, and what this process's did then, by their URIs."""


def lease(place: Place) -> dict[str, Any] | None:
    """Who has a run in hand; None where nobody has, or has any more, by the place's own time.

    One that cannot be read is somebody's, as long as any other; its `host` is None.
    """
    content = place.read(LEASE)
    if content is None:
        return None
    held = read_lease(content)
    if held["machine"] == machine() and not Path(f"/proc/{held['process']}").exists():
        return None
    age = place.age(LEASE)
    return None if age is None or age > LEASE_S else held


def read_lease(content: bytes) -> dict[str, Any]:
    """The fields of a lease; all are None where it cannot be read."""
    with suppress(ValueError):
        return whole("lease", json.loads(content), SAYS)
    return dict.fromkeys(SAYS)


def machine() -> str:
    """This machine, and what tells its processes apart from a container's."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}-{Path('/proc/self/ns/pid').stat().st_ino}"
