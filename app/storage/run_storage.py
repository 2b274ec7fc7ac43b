"""Storage of one run: its folder on this machine, or one behind a URI of which that is a copy."""

import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from app.storage.files import replace_file
from app.storage.lease import LEASE, hold_lease, is_locked_here, read_lease
from app.storage.remote_folder import CLOCK, RemoteFolder, StorageError
from app.storage.uploader import Uploader
from app.storage.working_copy import download_files, remote_run


class RunLock(Protocol):
    """The lock on a run that this process has in hand."""

    def check(self) -> None:
        """Raise StorageError where another process may have taken the run."""
        ...


@dataclass(frozen=True)
class Upload:
    """The files that the storage of a run is to have now."""

    files: Collection[Path]
    last: tuple[str, ...] = ()
    """Names of files that are uploaded after all others, in this order."""
    postponed: tuple[str, ...] = ()
    """Names of files and folders that stay as they are there until another time."""
    checkpoints: Collection[str] | None = None
    """Folders of checkpoints that are needed, others are removed there; None to leave them."""
    named: Collection[str] = ()
    """Folders of checkpoints that came there since the last upload, needed or not."""


class RunStorage(Protocol):
    """A run's files, wherever they are kept; behind a URI, methods raise StorageError."""

    folder: Path
    """The run's folder on this machine."""

    def is_running(self) -> bool:
        """Whether a process has the run in hand: on this machine, or anywhere behind a URI."""
        ...

    def lock(self, stop: str) -> AbstractContextManager[RunLock]:
        """Have the run in hand during the block; `stop` names the file that asks it to end."""
        ...

    def lacks(self, name: str) -> bool:
        """Whether a file is known to be missing or empty, before the run is downloaded."""
        ...

    def download(self, *names: str) -> None:
        """Bring these files in the folder up to date."""
        ...

    def refresh(self, *names: str) -> bool:
        """Do the same unless a process on this machine writes them; returns whether one exists."""
        ...

    def download_folder(self, name: str) -> Path:
        """Bring a folder of the run up to date and return its path, which need not exist."""
        ...

    def download_run(
        self, *, required: str, skipped: str, folders: Collection[str], checkpoints: str
    ) -> None:
        """Replace what is here of the run by what is there, but for its trials' folders.

        Args:
            required: The file without which there is no run, and StorageError is raised.
            skipped: A file that is not downloaded.
            folders: The folders that are downloaded.
            checkpoints: The folder with the checkpoints, which are only listed.
        """
        ...

    def upload(self, select: Callable[[], Upload]) -> None:
        """Send what has changed; `select` is called only where there is something to send to."""
        ...

    def has_folder(self, name: str) -> bool:
        """Whether the run has a folder of that name with something in it."""
        ...

    def create(self, name: str) -> None:
        """Create an empty file, also for a process elsewhere; raises OSError."""
        ...

    def write(self, name: str, content: str) -> None:
        """Replace a file by this text; raises OSError."""
        ...

    def add(self, source: Path, name: str) -> None:
        """Copy a file, or the files of a folder, into a folder of that name; raises OSError."""
        ...

    def uri(self, name: str) -> str:
        """Return the URI of a file or folder of the run."""
        ...

    def sizes(self) -> dict[str, int]:
        """Return the size in bytes of each file of the run, by its name."""
        ...

    def remove_folder(self, name: str) -> None:
        """Remove a folder of the run if it exists."""
        ...

    def remove(self) -> None:
        """Remove the run."""
        ...


class LocalStorage:
    """A run that is kept in its folder: there is nothing to download or upload."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def is_running(self) -> bool:
        """Whether a process on this machine has locked the run's journal."""
        return is_locked_here(self.folder)

    @contextmanager
    def lock(self, stop: str) -> Iterator[RunLock]:
        """Do nothing: whoever opens the journal locks it."""
        yield self

    def check(self) -> None:
        """Do nothing: nobody takes a locked journal."""

    def lacks(self, name: str) -> bool:
        """Whether a file is missing or empty."""
        path = self.folder / name
        return not path.exists() or not path.stat().st_size

    def download(self, *names: str) -> None:
        """Do nothing."""

    def refresh(self, *names: str) -> bool:
        """Return whether one of the files exists."""
        return any((self.folder / name).is_file() for name in names)

    def download_folder(self, name: str) -> Path:
        """Return the folder's path."""
        return self.folder / name

    def download_run(
        self, *, required: str, skipped: str, folders: Collection[str], checkpoints: str
    ) -> None:
        """Do nothing."""

    def upload(self, select: Callable[[], Upload]) -> None:
        """Do nothing."""

    def has_folder(self, name: str) -> bool:
        """Whether the folder exists with something in it."""
        path = self.folder / name
        return path.is_dir() and any(path.iterdir())

    def create(self, name: str) -> None:
        """Create an empty file in the folder."""
        (self.folder / name).touch()

    def write(self, name: str, content: str) -> None:
        """Replace a file of the folder."""
        replace_file(self.folder / name, content)

    def add(self, source: Path, name: str) -> None:
        """Copy a file, or the files of a folder, into a folder."""
        target = self.folder / name
        target.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copy2(source, target)

    def uri(self, name: str) -> str:
        """Return the URI of a path on this machine."""
        return (self.folder / name).as_uri()

    def sizes(self) -> dict[str, int]:
        """Return the size of each file; links are not followed."""
        files = (path for path in self.folder.rglob("*") if path.is_symlink() or path.is_file())
        return {path.relative_to(self.folder).as_posix(): path.lstat().st_size for path in files}

    def remove_folder(self, name: str) -> None:
        """Remove a folder."""
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


class RemoteStorage:
    """A run that is kept behind a URI; its folder on this machine is a working copy.

    Checkpoints are uploaded by the nodes that write them, and stay out of the working copy.
    """

    def __init__(self, folder: Path, remote: RemoteFolder) -> None:
        self.folder = folder
        self._remote = remote
        self._uploader = Uploader(folder, remote)
        self._checkpoints: set[str] = set()
        """Folders of checkpoints that the remote folder has."""

    def is_running(self) -> bool:
        """Whether a process on this machine has locked the journal, or any has the lease."""
        return is_locked_here(self.folder) or read_lease(self._remote) is not None

    def lock(self, stop: str) -> AbstractContextManager[RunLock]:
        """Hold the run's lease during the block; raises StorageError where another has it."""
        return hold_lease(self._remote, self.folder, stop)

    def lacks(self, name: str) -> bool:
        """Return False: that is known once the run is downloaded."""
        return False

    def download(self, *names: str) -> None:
        """Download those of the files that have changed."""
        download_files(self._remote, self.folder, *names)

    def refresh(self, *names: str) -> bool:
        """Download them unless this machine runs the run; returns whether one exists there."""
        return is_locked_here(self.folder) or download_files(self._remote, self.folder, *names)

    def download_folder(self, name: str) -> Path:
        """Replace a folder of the working copy, which is removed where there is none."""
        self._remote.download(name, self.folder / name)
        return self.folder / name

    def download_run(
        self, *, required: str, skipped: str, folders: Collection[str], checkpoints: str
    ) -> None:
        """Replace the working copy."""
        names = self._remote.names()
        if required not in names:
            raise StorageError(
                f"{self.folder.name}: its journal is gone: there is no {required} in"
                f" {self._remote.uri}; nothing was changed"
            )
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        files = [name for name in names if "/" not in name and name not in (LEASE, skipped)]
        self.download(*(name for name in files if not name.startswith(CLOCK)))
        for folder in folders:
            self.download_folder(folder)
        self._checkpoints = {
            "/".join(name.split("/")[:3]) for name in names if name.startswith(f"{checkpoints}/")
        }
        self._uploader.assume([], self._uploader.stamps(self.folder.rglob("*")))

    def upload(self, select: Callable[[], Upload]) -> None:
        """Upload files that changed, and remove files and checkpoints that are not selected."""
        upload = select()
        self._uploader.upload(
            self._uploader.stamps(upload.files), last=upload.last, postponed=upload.postponed
        )
        if upload.checkpoints is None:
            return
        needed = set(upload.checkpoints)
        for name in (self._checkpoints | set(upload.named)) - needed:
            self._remote.remove_folder(name)
        self._checkpoints = needed

    def has_folder(self, name: str) -> bool:
        """Whether the remote folder has a file below that name."""
        return bool(self._remote.subfolder(name).names())

    def create(self, name: str) -> None:
        """Create an empty file in the working copy and in the remote folder."""
        (self.folder / name).touch()
        self._remote.write(name, b"")

    def write(self, name: str, content: str) -> None:
        """Replace a file of the working copy and of the remote folder."""
        replace_file(self.folder / name, content)
        self._remote.write(name, content.encode())

    def add(self, source: Path, name: str) -> None:
        """Upload a file, or the files of a folder, into a remote folder."""
        self._remote.upload(source, name if source.is_dir() else f"{name}/{source.name}")

    def uri(self, name: str) -> str:
        """Return the URI below that of the run."""
        return self._remote.subfolder(name).uri

    def sizes(self) -> dict[str, int]:
        """Return the size of each file in the remote folder."""
        entries = self._remote.entries(recursive=True).items()
        return {name: info.size for name, info in entries if info.is_file}

    def remove_folder(self, name: str) -> None:
        """Remove a folder of the remote folder and of the working copy."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        self._remote.remove_folder(name)

    def remove(self) -> None:
        """Remove the remote folder and the working copy."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._remote.delete()


def run_storage(folder: Path) -> RunStorage:
    """Return the storage of the run in a folder, which may be in a working copy."""
    remote = remote_run(folder)
    if remote is None:
        return LocalStorage(folder)
    return RemoteStorage(folder, remote)
