"""Folders of files on disk: replaced whole or not at all, read without following a link."""

import ctypes
import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path, PurePosixPath

from serve.models.manifest import ArtifactError

AT_FDCWD = -100
RENAME_EXCHANGE = 2
CANNOT_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM)
"""What the kernel says where it, or a file system, cannot exchange two names."""


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A new folder to fill; it takes the place of that one when the block ends without an error.

    It does so in one step where the file system can, so that there is always the one or the other;
    what a process that was killed left half-done is removed.
    """
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    partial = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.partial")
    partial.mkdir()
    try:
        with _locked(partial):
            yield partial
            put_in_place(partial, folder)
    finally:
        _remove(partial)


def write_durably(path: Path, content: bytes) -> None:
    """Make a new file that is on the disk when this returns; its folder's entry may not be."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync(folder: Path) -> None:
    """Put a folder's own entries on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_regular(path: Path) -> BufferedReader:
    """A regular file, opened to be read; a link is not followed and a pipe not waited on."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: there is no such file, but a model needs it") from error
    except OSError as error:
        reason = "is a symbolic link" if path.is_symlink() else (error.strerror or str(error))
        raise ArtifactError(f"{path}: {reason}; a model is made of regular files") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ArtifactError(f"{path}: is not a regular file, as a model's files must be")
    return os.fdopen(descriptor, "rb")


def list_files(folder: Path, below: str = "") -> Iterator[str]:
    """The path of everything in a folder that is no folder; a link counts as no folder."""
    if not folder.is_dir():
        raise ArtifactError(f"{folder}: there is no such folder to make a model of")
    with os.scandir(folder / below) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from list_files(folder, f"{below}{entry.name}/")
            else:
                yield f"{below}{entry.name}"


def is_path_below(name: str) -> bool:
    """Whether a name is a path that stays below the folder it is taken from, written plainly."""
    path = PurePosixPath(name)
    plain = str(path) == name and "\0" not in name
    return plain and not path.is_absolute() and bool(path.parts) and ".." not in path.parts


def exchange(one: Path, other: Path) -> bool:
    """Let two files or folders take each other's names in one step; False where that cannot be."""
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
    """Give a folder its name; the one that has it takes the other's, or is removed."""
    if not (folder.exists() and swap(partial, folder)):
        _step_aside(partial, folder)
    sync(folder.parent)


def _step_aside(partial: Path, folder: Path) -> None:
    """Do so in two steps: a folder that is not empty cannot be renamed over."""
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


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Meanwhile nobody takes the folder for a leftover."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # A file system without locks: nobody sweeps there either.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _sweep(folder: Path) -> None:
    """Remove what processes that were killed left beside the folder, or put it back."""
    name = re.compile(rf"\.{re.escape(folder.name)}\.[0-9a-f]{{8}}\.(partial|old)")
    for left in list(folder.parent.iterdir()):
        found = name.fullmatch(left.name)
        if found is None or _is_in_use(left):
            continue
        if found[1] == "old" and not folder.exists():
            left.rename(folder)
        else:
            _remove(left)


def _is_in_use(folder: Path) -> bool:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _remove(folder: Path) -> None:
    """Remove a folder, or a link to one, as far as that can be done."""
    if folder.is_symlink():
        folder.unlink()
    shutil.rmtree(folder, ignore_errors=True)
