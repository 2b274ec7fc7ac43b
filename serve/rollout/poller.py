"""A server that follows a run: it answers by the best model so far, and swaps as the next comes."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from serve.models.artifact import RUN_RECORD
from serve.models.manifest import MANIFEST, ArtifactError
from serve.rollout.manager import Versions

LOOK_SECONDS = 0.5
"""How often the run's model is looked for."""

Identity = tuple[int, int, int]
"""What tells one model of a run from the next, without reading it."""


def model_of(run: str, runs: Path) -> Path:
    """Where the model of a run is, or will be; the run is given by name or by its folder."""
    for folder in (runs / run, Path(run).absolute()):
        if (folder / RUN_RECORD).is_file():
            return folder / "model"
    known = ", ".join(sorted(path.parent.name for path in runs.glob(f"*/{RUN_RECORD}")))
    raise ArtifactError(f"--follow: no run {run!r} in {runs}; known runs: {known or 'none'}")


def wait_for(model: Path, say: Callable[[str], None]) -> None:
    """Wait until the run has exported a model."""
    if _identity(model) is None:
        say(f"waiting for the first model of run {model.parent.name} - ctrl-c stops")
    while _identity(model) is None:
        time.sleep(LOOK_SECONDS)


@contextlib.contextmanager
def following(model: Path, versions: Versions, say: Callable[[str], None]) -> Iterator[None]:
    """Let each newer model of a run answer, while the block runs."""
    ended = threading.Event()

    def look_again() -> None:
        seen: Identity | None = None
        while not ended.is_set():
            found = _identity(model)
            if found not in (None, seen):
                seen = found
                _swap(model, versions, say)
            ended.wait(LOOK_SECONDS)

    thread = threading.Thread(target=look_again, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()


def _swap(model: Path, versions: Versions, say: Callable[[str], None]) -> None:
    try:
        versions.swap(model)
    except ArtifactError as error:
        say(f"{versions.current.said} answers on; the newer model cannot: {error}")


def _identity(model: Path) -> Identity | None:
    """Which model is there now; None where there is none, as between one and the next."""
    try:
        about = (model / MANIFEST).stat()
    except FileNotFoundError:
        return None
    return about.st_ino, about.st_mtime_ns, about.st_size
