"""A server's run directory: its admin socket and its copies of models.

Each server has a folder within the user's, and a symbolic link to it named by address and port.
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

from serve.models.files import try_lock

LOCK = "lock"
SOCKET = "admin.sock"
MODELS = "models"


class RunDirError(Exception):
    """A folder or socket of servers is not the user's alone."""


@dataclass(frozen=True)
class RunDir:
    """The run directory of one server."""

    folder: Path

    @property
    def socket(self) -> Path:
        """Path of the admin socket."""
        return self.folder / SOCKET

    @property
    def models(self) -> Path:
        """Folder of the copies of models."""
        return self.folder / MODELS


@contextlib.contextmanager
def create(address: str, port: int) -> Iterator[RunDir]:
    """Create the run directory of a server on an address, and remove it when the block ends.

    Raises:
        RunDirError: Other users can enter the folder in which it would be.
    """
    root = _make_private(_root())
    with _lock_root(root / LOCK):
        _remove_leftovers(root)
        folder = Path(tempfile.mkdtemp(prefix="server-", dir=root))
        # The kernel releases this lock however the process ends, which marks a leftover.
        lock = _try_lock(folder / LOCK)
        assert lock is not None  # The folder is new.
    run_dir = RunDir(folder)
    run_dir.models.mkdir()
    link = root / _link_name(address, port)
    next_link = folder / "link"
    next_link.symlink_to(folder.name)
    next_link.replace(link)
    try:
        yield run_dir
    finally:
        # A server that took the port since then has replaced the link.
        with contextlib.suppress(OSError):
            if link.readlink() == Path(folder.name):
                link.unlink()
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()


def find(address: str, port: int) -> RunDir | None:
    """Find the run directory of the server on an address; None if there is no server.

    Raises:
        RunDirError: It may be another user's, who would be told what to load.
    """
    root = _root()
    if not root.exists():
        return None
    folder = _check_private(root) / (root / _link_name(address, port)).resolve().name
    run_dir = RunDir(folder)
    if not run_dir.socket.exists():
        return None
    _check_private(folder)
    _check_private(run_dir.socket)
    return run_dir


def list_servers() -> list[tuple[str, int]]:
    """List address and port of each of the user's servers; raises RunDirError as `find` does."""
    root = _root()
    if not root.exists():
        return []
    names = [link.name for link in _check_private(root).glob("*-*") if _is_live(link)]
    return [(address, int(port)) for address, _, port in (n.rpartition("-") for n in sorted(names))]


def _is_live(link: Path) -> bool:
    return link.is_symlink() and link.exists()


def _root() -> Path:
    return Path(tempfile.gettempdir()) / f"tuneport-{os.getuid()}"


def _link_name(address: str, port: int) -> str:
    return f"{address}-{port}"


def _make_private(folder: Path) -> Path:
    """Create the folder for this user alone, in a folder where all users may write."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    return _check_private(folder)


def _check_private(path: Path) -> Path:
    """Return a folder or socket; raises RunDirError unless it is this user's alone."""
    status = path.lstat()
    is_expected = stat.S_ISSOCK if path.name == SOCKET else stat.S_ISDIR
    if not is_expected(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        kind = "socket" if path.name == SOCKET else "folder"
        raise RunDirError(
            f"{path}: must be a {kind} of yours that nobody else can enter; remove it, or "
            "set TMPDIR"
        )
    return path


def _remove_leftovers(root: Path) -> None:
    """Remove the folders and links of servers that were killed."""
    for folder in root.glob("server-*"):
        with contextlib.suppress(FileNotFoundError):  # Its server is just ending.
            lock = _try_lock(folder / LOCK)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                lock.close()
    for link in root.glob("*-*"):
        if link.is_symlink() and not link.exists():
            link.unlink()


@contextlib.contextmanager
def _lock_root(path: Path) -> Iterator[None]:
    """Let one server at a time create its folder."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _try_lock(path: Path) -> BufferedRandom | None:
    """Lock a file; None if another process has it locked."""
    file = path.open("w+b")
    if try_lock(file.fileno()):
        return file
    file.close()
    return None
