"""Where a server keeps what is its own: its admin socket and its copies of models.

Each has a folder below the user's, and a link that finds it by address and port.
"""

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path

LOCK = "lock"
SOCKET = "admin.sock"
MODELS = "models"


class PremisesError(Exception):
    """A private folder that others could change."""


@dataclass(frozen=True)
class Premises:
    """One server's own folder."""

    folder: Path

    @property
    def socket(self) -> Path:
        """Where it is asked to change its model."""
        return self.folder / SOCKET

    @property
    def models(self) -> Path:
        """Where its copies of models are."""
        return self.folder / MODELS


@contextlib.contextmanager
def opened(address: str, port: int) -> Iterator[Premises]:
    """The premises of a server at an address, taken away when the block ends."""
    root = _private(_root())
    with _locked(root / LOCK):
        _sweep(root)
        folder = Path(tempfile.mkdtemp(prefix="server-", dir=root))
        # Held until this process ends, however that comes: so the next one sees what is left over.
        lock = _lock(folder / LOCK)
        assert lock is not None  # nobody else has seen it
    place = Premises(folder)
    place.models.mkdir()
    link = root / _name(address, port)
    next_link = folder / "link"
    next_link.symlink_to(folder.name)
    next_link.replace(link)
    try:
        yield place
    finally:
        # Another server may have taken the port, and the link, since this one gave it up.
        with contextlib.suppress(OSError):
            if link.readlink() == Path(folder.name):
                link.unlink()
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()


def found(address: str, port: int) -> Premises | None:
    """The premises of the server at an address, if one is there."""
    place = Premises(_root() / _name(address, port))
    return place if place.socket.exists() else None


def known() -> list[str]:
    """Addresses and ports of the servers that are there."""
    names = (link.name for link in _root().glob("*-*") if link.is_symlink() and link.exists())
    return [" port ".join(name.rsplit("-", 1)) for name in sorted(names)]


def _root() -> Path:
    return Path(tempfile.gettempdir()) / f"tuneport-{os.getuid()}"


def _name(address: str, port: int) -> str:
    return f"{address}-{port}"


def _private(folder: Path) -> Path:
    """The folder, which must be this user's alone: others may write beside it."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o077:
        raise PremisesError(
            f"{folder}: has to be a folder of yours that nobody else can enter; take it away, or "
            "set TMPDIR"
        )
    return folder


def _sweep(root: Path) -> None:
    """Take away what servers left that were killed."""
    for folder in root.glob("server-*"):
        with contextlib.suppress(FileNotFoundError):  # Its server is just ending.
            lock = _lock(folder / LOCK)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                lock.close()
    for link in root.glob("*-*"):
        if link.is_symlink() and not link.exists():
            link.unlink()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Wait for one's turn among the servers that start."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _lock(path: Path) -> BufferedRandom | None:
    """The lock of that file, or None where another process holds it."""
    file = path.open("w+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
