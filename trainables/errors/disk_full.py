"""Full disks and exceeded quotas, however an exception or a text tells of them."""

import errno
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from trainables.errors.printable import one_line

FULL = (errno.ENOSPC, errno.EDQUOT)
FULL_WORDS = {
    # The system's, Python's, and Rust's, as in safetensors.
    number: re.compile(
        rf"{re.escape(os.strerror(number))}|\[Errno {number}\]|\bcode: {number}\b"
        rf"|\(os error {number}\)"
    )
    for number in FULL
}
"""Words by which text tells of an error number."""
WRITE_WORDS = re.compile(
    r"iostream error|unexpected pos \d+ vs \d+|PytorchStreamWriter failed writing file"
    r"|\d+ requested and \d+ written"
)
"""Words of torch and numpy for a write that failed for any reason."""
PROBE_BYTES = 2**16


class DiskFull(Exception):
    """A disk that takes no more; the run ends, and can be resumed once there is room."""


def probe_disk(folder: Path) -> OSError | None:
    """Write a little into a folder; return the error if its disk is full."""
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(bytes(PROBE_BYTES))
            os.fsync(file.fileno())
    except OSError as error:
        return error if error.errno in FULL else None
    return None


def find_disk_full(
    error: BaseException | None,
    folder: Path,
    probe: Callable[[Path], OSError | None] = probe_disk,
) -> DiskFull | None:
    """Return the full disk that an exception came from, if any.

    It is known by the error number of the exception, or of one that led to it. Where torch or numpy
    leave the number out, `probe` tries the folder that was written to.
    """
    for cause in _chain(error):
        words = str_of(cause)
        if isinstance(cause, OSError) and cause.errno in FULL:
            path = cause.filename if isinstance(cause.filename, str) else folder
            return DiskFull(one_line(f"{path}: {os.strerror(cause.errno)}"))
        if refusal := find_refusal(words):
            return DiskFull(one_line(f"{folder}: {refusal}"))
        if WRITE_WORDS.search(words) and (refused := probe(folder)) is not None:
            return find_disk_full(refused, folder)
    return None


def find_refusal(text: str) -> str | None:
    """Return the system's words for a full disk, if a text tells of one."""
    return next((os.strerror(number) for number in FULL if FULL_WORDS[number].search(text)), None)


def str_of(error: BaseException) -> str:
    """Return an exception's message, whatever its `__str__` does."""
    try:
        return str(error)
    except Exception as failure:
        return f"its message cannot be read ({type(failure).__name__})"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and those that led to it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
