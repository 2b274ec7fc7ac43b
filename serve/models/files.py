"""Folders on disk: replaced whole or not at all, read without following a link."""

import ctypes
import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path, PurePosixPath

from serve.models.manifest import MANIFEST, ArtifactError

AT_FDCWD = -100
RENAME_EXCHANGE = 2
CANNOT_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM)
"""Errors of a kernel or file system that cannot exchange two names."""


@contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """Create a folder to fill, which replaces `folder` when the block ends without an error.

    A file system that can exchange names does it in one step, so that either the old folder is
    there or the new one. Leftovers of processes that were killed are removed.
    """
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    partial = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.partial")
    partial.mkdir()
    try:
        with _lock(partial):
            yield partial
            put_in_place(partial, folder)
    finally:
        _remove(partial)


def write_durably(path: Path, content: bytes) -> None:
    """Create a file and sync it to the disk; `sync` its folder for the name."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync(folder: Path) -> None:
    """Sync a folder's entries to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file to read; refuses links, and pipes without waiting for them.

    Raises:
        ArtifactError: There is no such file, or it is not a regular one.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such file, but the model needs it") from error
    except OSError as error:
        reason = "is a symbolic link" if path.is_symlink() else (error.strerror or str(error))
        raise ArtifactError(f"{path}: {reason}; a model is made of regular files") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ArtifactError(f"{path}: is not a regular file, as a model's files must be")
    return os.fdopen(descriptor, "rb")


def list_files(folder: Path, below: str = "") -> Iterator[str]:
    """List the paths of all files in a folder and its subfolders; links count as files."""
    if not folder.is_dir():
        raise ArtifactError(f"{folder}: no such folder")
    with os.scandir(folder / below) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from list_files(folder, f"{below}{entry.name}/")
            else:
                yield f"{below}{entry.name}"


def is_path_below(name: str) -> bool:
    """Whether a name is a normalised relative path that does not leave its folder."""
    path = PurePosixPath(name)
    normalised = str(path) == name and "\0" not in name
    return normalised and not path.is_absolute() and bool(path.parts) and ".." not in path.parts


def check_listed(manifest: Path, name: str) -> None:
    """Raise ArtifactError for a name that a manifest lists unless it is the path of a file."""
    if not is_path_below(name):
        raise ArtifactError(f"{manifest}: sha256 lists {name!r}, not the path of a file in it")


def check_digest(path: Path, found: str, listed: str) -> None:
    """Raise ArtifactError if a file has another sha256 than its manifest lists."""
    if found != listed:
        raise ArtifactError(
            f"{path}: its sha256 is {found[:12]}…, but {MANIFEST} says {listed[:12]}…; "
            "export the model again"
        )


def exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two files or folders in one step; False where that is not supported."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    names = (os.fsencode(one), os.fsencode(other))
    if rename(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in CANNOT_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(other))


def put_in_place(
    partial: Path, folder: Path, swap: Callable[[Path, Path], bool] = exchange
) -> None:
    """Rename `partial` to `folder`; an old folder gets the other name, or is removed."""
    if not (folder.exists() and swap(partial, folder)):
        _rename_in_two_steps(partial, folder)
    sync(folder.parent)


def _rename_in_two_steps(partial: Path, folder: Path) -> None:
    """Move the old folder away first: a folder that is not empty cannot be renamed over."""
    old = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.old")
    if folder.exists():
        folder.rename(old)
    try:
        partial.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    _remove(old)


def try_lock(descriptor: int) -> bool:
    """Lock an open file or folder; False if another process has it, or if there are no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Lock the folder within the block, so that no process takes it for a leftover."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try_lock(descriptor)  # On a file system without locks nothing is swept either.
        yield
    finally:
        os.close(descriptor)


def _sweep(folder: Path) -> None:
    """Remove the leftovers of killed processes beside the folder, or restore it from one."""
    name = re.compile(rf"\.{re.escape(folder.name)}\.[0-9a-f]{{8}}\.(partial|old)")
    for path in list(folder.parent.iterdir()):
        match = name.fullmatch(path.name)
        if match is None or _is_in_use(path):
            continue
        if match[1] == "old" and not folder.exists():
            path.rename(folder)
        else:
            _remove(path)


def _is_in_use(folder: Path) -> bool:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        return not try_lock(descriptor)
    finally:
        os.close(descriptor)


def _remove(folder: Path) -> None:
    """Remove a folder or a link to one; ignores errors."""
    if folder.is_symlink():
        folder.unlink()
    shutil.rmtree(folder, ignore_errors=True)
