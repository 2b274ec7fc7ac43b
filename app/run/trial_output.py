"""The output of a trial: what is in its log, and what it prints while one follows it."""

import codecs
import io
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from app.run import store
from app.run.result_file import RESULT
from app.run.status import FINISHED
from app.run.store import POLL_S, Run, StoreError
from app.storage.run_storage import run_storage
from app.terminal import escaped

CHUNK_BYTES = 2**16


def read_output(run: Run, trial_id: str, *, follow: bool) -> Iterator[str]:
    """Yield what a trial printed and, to `follow` it, what it prints until it ends.

    Raises StoreError where its log cannot be read.
    """
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    offset = 0
    while True:
        # Asked before reading, so that the last words are read after the end.
        more = follow and _may_print(run, trial_id)
        path = store.download_log(run.folder, trial_id)
        for chunk in _chunks(path, offset):
            offset += len(chunk)
            yield decode(chunk)
        if not more:
            break
        time.sleep(POLL_S)
    yield decode(b"", True)


def for_terminal(texts: Iterable[str]) -> Iterator[str]:
    """Show control characters of a log instead of obeying them; a carriage return ends a line."""
    lines = io.IncrementalNewlineDecoder(None, translate=True)
    yield from (escaped(lines.decode(text)) for text in texts)
    yield escaped(lines.decode("", final=True))


def _chunks(path: Path, offset: int) -> Iterator[bytes]:
    """Read a file from there on; nothing where there is no file."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error


def _may_print(run: Run, trial_id: str) -> bool:
    """Whether a process has the run in hand and the trial is not finished."""
    storage = run_storage(run.folder)
    if not storage.is_running():
        return False
    storage.refresh(RESULT)
    trials = store.read(run.folder).result["trials"]
    return any(
        trial["trial_id"] == trial_id and trial["status"] not in FINISHED for trial in trials
    )
