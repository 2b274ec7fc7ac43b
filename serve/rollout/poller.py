"""Follow a run: poll its folder, and swap to each new best model that it exports."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from serve.models.artifact import RUN_RECORD
from serve.models.manifest import MANIFEST, ArtifactError
from serve.rollout.manager import VersionManager

POLL_SECONDS = 0.5
"""How often the run's model is looked at."""

Identity = tuple[int, int, int]
"""Inode, modification time in ns and size of `model.json`: they differ from model to model."""


def find_model_folder(run: str, runs: Path) -> Path:
    """Return the folder in which a run has its model, or will have it.

    Args:
        run: The run's name, or its folder.
        runs: The folder of all runs.

    Raises:
        ArtifactError: There is no such run.
    """
    for folder in (runs / run, Path(run).absolute()):
        if (folder / RUN_RECORD).is_file():
            return folder / "model"
    known = ", ".join(sorted(path.parent.name for path in runs.glob(f"*/{RUN_RECORD}")))
    raise ArtifactError(f"--follow: no run {run!r} in {runs}; known runs: {known or 'none'}")


def wait_for_model(folder: Path, say: Callable[[str], None]) -> None:
    """Wait until the run has exported a model."""
    if _read_identity(folder) is None:
        say(f"waiting for the first model of run {folder.parent.name} - ctrl-c stops")
    while _read_identity(folder) is None:
        time.sleep(POLL_SECONDS)


@contextlib.contextmanager
def follow(folder: Path, manager: VersionManager, say: Callable[[str], None]) -> Iterator[None]:
    """Swap to each new model in the folder, in a thread, while the block runs."""
    stop = threading.Event()

    def poll() -> None:
        last: Identity | None = None
        while not stop.is_set():
            identity = _read_identity(folder)
            if identity not in (None, last):
                last = identity
                _swap(folder, manager, say)
            stop.wait(POLL_SECONDS)

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()


def _swap(folder: Path, manager: VersionManager, say: Callable[[str], None]) -> None:
    try:
        manager.swap(folder)
    except ArtifactError as error:
        current = manager.current.description
        say(f"{current} still answers; the newer model cannot be loaded: {error}")


def _read_identity(folder: Path) -> Identity | None:
    """Identify the model that is there; None if there is none, as during its replacement."""
    try:
        status = (folder / MANIFEST).stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
