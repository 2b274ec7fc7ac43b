"""Follow a run: poll its folder, and swap to each new best model that it exports."""

import contextlib
import fcntl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from serve.models.artifact import RUN_RECORD
from serve.models.manifest import MANIFEST, ArtifactError
from serve.rollout.manager import VersionManager

POLL_SECONDS = 0.5
"""How often the run's model is looked at."""
JOURNAL = "journal.jsonl"
"""File of a run, locked by the process that runs it until its model is exported."""

Identity = tuple[int, int, int]
"""Inode, modification time in ns and size of `model.json`: they differ from model to model."""


def find_model_folder(run: str, runs: Path) -> Path:
    """Return the folder in which a run, by name or folder, has its model or will have it.

    Raises ArtifactError if it is no name, or cannot be looked for.
    """
    if not run.strip("./") or "\0" in run:
        raise ArtifactError(f"--follow: expected a run's name or folder, got {run!r}")
    folders = (runs / run, Path(run).absolute())
    with _translate_errors():
        begun = [folder for folder in folders if (folder / RUN_RECORD).is_file()]
    return (begun or [folders["/" in run]])[0] / "model"


def wait_for_model(folder: Path, say: Callable[[str], None]) -> None:
    """Wait until the run has exported a model.

    Raises ArtifactError if it has ended without one, or its folder cannot be read.
    """
    run = folder.parent
    with _translate_errors():
        if not (run / RUN_RECORD).is_file():
            known = ", ".join(
                sorted(path.parent.name for path in run.parent.glob(f"*/{RUN_RECORD}"))
            )
            there = f"known runs: {known or 'none'}"
            say(f"waiting for run {run.name} to begin in {run.parent}; {there} - ctrl-c stops")
        elif _read_identity(folder) is None and not _has_ended(run):
            say(f"waiting for the first model of run {run.name} - ctrl-c stops")
        while True:
            has_ended = _has_ended(run)  # Looked at first, for a run ends after its export.
            if _read_identity(folder) is not None:
                return
            if has_ended:
                raise ArtifactError(
                    f"--follow: run {run.name!r} has ended without a model; export one with "
                    f"`python -m app.runs export {run.name}`, or resume it"
                )
            time.sleep(POLL_SECONDS)


@contextlib.contextmanager
def follow(folder: Path, manager: VersionManager, say: Callable[[str], None]) -> Iterator[None]:
    """Swap to each new model in the folder, in a thread, while the block runs."""
    stop = threading.Event()

    def poll() -> None:
        last: Identity | str | None = None
        while not stop.wait(POLL_SECONDS):
            found = _look(folder)
            if found in (None, last):
                continue
            last = found
            if isinstance(found, str):
                say(f"{manager.current.description} still answers; {found}")
            else:
                _swap(folder, manager, say)

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()


def _look(folder: Path) -> Identity | str | None:
    """Identify the model that is there, or say why it cannot be read."""
    try:
        with _translate_errors():
            return _read_identity(folder)
    except ArtifactError as error:
        return str(error)


def _swap(folder: Path, manager: VersionManager, say: Callable[[str], None]) -> None:
    try:
        manager.swap(folder)
    except ArtifactError as error:
        current = manager.current.description
        say(f"{current} still answers; the newer model cannot be loaded: {error}")


@contextlib.contextmanager
def _translate_errors() -> Iterator[None]:
    """Turn errors of the file system into ArtifactError."""
    try:
        yield
    except OSError as error:
        raise ArtifactError(f"--follow: cannot read {error.filename}: {error.strerror}") from error


def _has_ended(run: Path) -> bool:
    """Whether a run has begun, and no process has it any more."""
    if not (run / JOURNAL).is_file():
        return False
    with (run / JOURNAL).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:  # It is locked, or the file system has no locks.
            return False
    return True


def _read_identity(folder: Path) -> Identity | None:
    """Identify the model that is there; None if there is none, as during its replacement."""
    try:
        status = (folder / MANIFEST).stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
