"""What the workers of a trial print, on its way to the trial's log."""

import io
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from trainables.contract import is_rays


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
