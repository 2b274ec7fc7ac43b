"""Working copies of runs that are kept behind a URI: one folder on this machine for each URI."""

import hashlib
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from app.storage.files import replace_file
from app.storage.lease import JOURNAL, is_locked_here
from app.storage.remote_folder import RemoteFolder, join
from trainables.script.channels import cache_folder

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo

URI_FILE = ".place"
"""The file in a working copy that holds its URI."""
LISTED_FILES = ("experiment.json", "result.json")
"""The files of every run that a working copy has; others are fetched when they are needed."""
FRESH_S = 5.0
"""A younger file may have been replaced with no change in its time or size."""


def open_working_copy(uri: str) -> Path:
    """Return the folder on this machine for the runs at a URI, brought up to date.

    Raises StorageError where the URI cannot be read.
    """
    folder = _root() / hashlib.sha256(uri.encode()).hexdigest()[:16]
    remote = RemoteFolder.open(uri)
    remote.check_bucket()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / URI_FILE).write_text(uri)
    _update(remote, folder)
    return folder


def remote_runs(runs: Path) -> RemoteFolder | None:
    """Return the remote folder that a folder of runs is a working copy of; None for no copy."""
    if runs.parent != _root():
        return None
    return RemoteFolder.open((runs / URI_FILE).read_text())


def remote_run(folder: Path) -> RemoteFolder | None:
    """Return the remote folder of one run; None for a run that is kept in its folder here."""
    runs = remote_runs(folder.parent)
    return None if runs is None else runs.subfolder(folder.name)


def location(path: Path) -> str:
    """Return a path as a user types it: below a working copy, as the URI."""
    root = _root()
    if root not in path.parents:
        return str(path)
    copy, *names = path.relative_to(root).parts
    return join((root / copy / URI_FILE).read_text(), *names)


def nodes_folder() -> Path:
    """Return where a node works on runs of other nodes, with which it shares no folder."""
    return cache_folder().parent / "nodes"


def download_files(remote: RemoteFolder, folder: Path, *names: str) -> bool:
    """Bring files of a folder up to date; a file that the remote folder lacks stays as it is.

    Returns whether the remote folder has one of them.
    """
    there = [
        (name, info) for name, info in zip(names, remote.infos(*names), strict=True) if info.is_file
    ]
    for name, info in there:
        _download(remote, name, folder / name, info)
    return bool(there)


def _root() -> Path:
    return cache_folder().parent / "runs"


def _update(remote: RemoteFolder, folder: Path) -> None:
    """Remove runs that are gone, and download what is listed of the others."""
    entries = remote.entries(recursive=False).items()
    names = [name for name, info in entries if not info.is_file and not name.startswith(".")]
    for run in folder.iterdir():
        is_run = run.is_dir() and not run.name.startswith(".")
        if is_run and run.name not in names and not is_locked_here(run):
            shutil.rmtree(run, ignore_errors=True)
    paths = [f"{name}/{file}" for name in names for file in LISTED_FILES]
    found = _download_unlocked(remote, folder, paths)
    # The outcome of a run without a result is read from its journal.
    without = [name for name in names if f"{name}/{LISTED_FILES[-1]}" not in found]
    _download_unlocked(remote, folder, [f"{name}/{JOURNAL}" for name in without])


def _download_unlocked(remote: RemoteFolder, folder: Path, paths: Sequence[str]) -> set[str]:
    """Download files, but not of runs that this machine is running; returns those that exist."""
    found = set()
    for path, info in zip(paths, remote.infos(*paths), strict=True):
        if info.is_file:
            found.add(path)
            if not is_locked_here(folder / path.partition("/")[0]):
                _download(remote, path, folder / path, info)
    return found


def _download(remote: RemoteFolder, name: str, target: Path, info: "FileInfo") -> None:
    """Download a file unless the local one has its size and time."""
    with suppress(OSError):
        local = target.stat()
        is_old = info.mtime_ns < time.time_ns() - FRESH_S * 10**9
        if is_old and (local.st_size, local.st_mtime_ns) == (info.size, info.mtime_ns):
            return
    content = remote.read(name)
    if content is None:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    replace_file(target, content)
    os.utime(target, ns=(info.mtime_ns, info.mtime_ns))
