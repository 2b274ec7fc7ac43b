"""Folders of files on disk: replaced whole or not at all, read without following a link."""

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path, PurePosixPath

from serve.manifest import ArtifactError


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A new folder to fill; it takes the place of that one when the block ends without an error."""
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.partial")
    partial.mkdir()
    try:
        yield partial
        _put_in_place(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


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


def names_below(folder: Path, below: str = "") -> Iterator[str]:
    """The path of everything in a folder that is no folder; a link counts as no folder."""
    if not folder.is_dir():
        raise ArtifactError(f"{folder}: there is no such folder to make a model of")
    with os.scandir(folder / below) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from names_below(folder, f"{below}{entry.name}/")
            else:
                yield f"{below}{entry.name}"


def is_path(name: str) -> bool:
    """Whether a name is a path that stays below the folder it is taken from, written plainly."""
    path = PurePosixPath(name)
    plain = str(path) == name and "\0" not in name
    return plain and not path.is_absolute() and bool(path.parts) and ".." not in path.parts


def _put_in_place(partial: Path, folder: Path) -> None:
    old = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.old")
    # A folder that is not empty cannot be renamed over, so the old one steps aside first.
    if folder.exists():
        folder.rename(old)
    try:
        partial.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)
