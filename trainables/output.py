"""What the workers of a trial print, on its way to the trial's log."""

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
    shutil.rmtree(file.parent)
    return content


def print_whole_lines() -> None:
    """Let Ray's worker print whole lines, since all of a trial write into one log.

    The streams that Ray gives it write each piece at once, and `print` gives a line and its end as
    two; the streams below those wait for the end.
    """
    if is_rays():
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            setattr(sys, name, getattr(stream, "stream", stream))
