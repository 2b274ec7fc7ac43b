"""What the workers of a trial print, on its way to the trial's log."""

import io
import os
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from trainables.contract import is_rays
from trainables.errors import reason


@dataclass(frozen=True)
class Printed:
    """What a worker on another node than the first one's printed since it told of that before."""

    content: bytes
    node: str
    """Where it is, by Ray's name."""
    file: Path
    """Where all of it is there, in a folder of the worker's own."""


def rest(file: Path, heard: int) -> bytes:
    """On the node of a worker that was lost: what it printed but for the first bytes.

    Nothing of it stays.
    """
    content = file.read_bytes()[heard:]
    shutil.rmtree(file.parent, ignore_errors=True)
    return content


def write(content: bytes, log: int = 2) -> None:
    """Write all of it to the log that is open by this number, as one piece."""
    with open(log, "wb", closefd=False) as file:
        file.write(content)


def flush() -> None:
    """Write out what was printed, where the streams are such that this can be."""
    for stream in (sys.stdout, sys.stderr):
        # A program may have closed one, taken it away, or put an object of its own in its place.
        with suppress(AttributeError, TypeError, ValueError, OSError):
            stream.flush()


def print_trace() -> None:
    """Write the exception that is being handled into the log, whatever became of the streams."""
    error = sys.exc_info()[1]
    assert error is not None  # it is called where one is handled
    flush()
    with suppress(OSError):
        write(reason.trace(error).encode("utf-8", "replace"))


def stand_in() -> None:
    """Open the streams again that a program closed or took away, for the next one to print."""
    for file, name in ((1, "stdout"), (2, "stderr")):
        before = getattr(sys, name)
        if before is None or getattr(before, "closed", False):
            stream = open(file, "wb", closefd=False)  # noqa: SIM115
            setattr(sys, name, Lines(stream, encoding="utf-8", errors="replace"))


def write_to(path: Path) -> None:
    """Let what this process and its libraries print go to a file from here on."""
    flush()
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(file, stream)
    if file > 2:  # else one of the two was closed
        os.close(file)
    stand_in()


class Lines(io.TextIOWrapper):
    """A stream whose content is written when a line has ended with it."""

    def write(self, text: str) -> int:
        """Take a piece of what is printed."""
        count = super().write(text)
        if text.endswith("\n"):
            self.flush()
        return count


def print_whole_lines() -> None:
    """Let Ray's worker print whole lines, since all of a trial write into one log.

    The streams that Ray gives it write each piece at once, and `print` gives a line and its end as
    two.
    """
    if not is_rays():
        return
    for file, name in ((1, "stdout"), (2, "stderr")):
        if not isinstance(getattr(sys, name), Lines):
            stream = open(file, "wb", closefd=False)  # noqa: SIM115
            setattr(sys, name, Lines(stream, encoding="utf-8", errors="replace"))
