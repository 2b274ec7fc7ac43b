"""The output of a trial's processes, on its way to the trial's log."""

import io
import os
import sys
from contextlib import suppress
from pathlib import Path

from trainables.contract import is_ray_worker
from trainables.errors import reason


def write(content: bytes, log: int = 2) -> None:
    """Write all of it, as one piece, to the log that is open as this file descriptor."""
    with open(log, "wb", closefd=False) as file:
        file.write(content)


def flush() -> None:
    """Flush stdout and stderr, as far as a program has left them such that they can be."""
    for stream in (sys.stdout, sys.stderr):
        # A program may have closed one, taken it away, or put an object of its own in its place.
        with suppress(AttributeError, TypeError, ValueError, OSError):
            stream.flush()


def print_trace() -> None:
    """Write the traceback of the current exception into the log, past `sys.stderr`."""
    error = sys.exc_info()[1]
    assert error is not None  # it is called where one is handled
    flush()
    with suppress(OSError):
        write(reason.format_trace(error).encode("utf-8", "replace"))


def reopen_streams() -> None:
    """Open those of stdout and stderr again that a program closed or took away."""
    for file, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None or getattr(stream, "closed", False):
            setattr(sys, name, _open_lines(file))


def write_to(path: Path) -> None:
    """Send the output of this process, and of its libraries, to a file from now on."""
    flush()
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(file, stream)
    if file > 2:  # else one of the two was closed
        os.close(file)
    reopen_streams()


class Lines(io.TextIOWrapper):
    """Text stream that is flushed at the end of each line."""

    def write(self, text: str) -> int:
        """Write a piece of text."""
        count = super().write(text)
        if text.endswith("\n"):
            self.flush()
        return count


def print_whole_lines() -> None:
    """Let a Ray worker write whole lines, since all processes of a trial write into one log.

    The streams that Ray gives it write each piece at once, and `print` writes a line and its end
    as two pieces.
    """
    if not is_ray_worker():
        return
    for file, name in ((1, "stdout"), (2, "stderr")):
        if not isinstance(getattr(sys, name), Lines):
            setattr(sys, name, _open_lines(file))


def _open_lines(file: int) -> Lines:
    stream = open(file, "wb", closefd=False)  # noqa: SIM115
    return Lines(stream, encoding="utf-8", errors="replace")
