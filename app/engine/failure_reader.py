"""Reasons of failures, read from Tune's and Ray's texts and from the logs of trials.

Read here: lost nodes, a lack of memory, full disks, processes that hung, crashed or were killed,
and exceptions of several processes. The sentences for exceptions, stacks and crashes themselves
are those of `trainables.errors.reason`.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from app.cluster.failures import NODE_LOST, OUT_OF_MEMORY
from app.engine.hang_guard import HUNG, hung_method
from app.run.trial import node_lost
from trainables.errors import disk_full
from trainables.errors import reason as reasons
from trainables.errors.last_lines import without_launcher
from trainables.errors.printable import one_line, printable

LOW_ON_MEMORY = "running low on memory"
"""Ray's words for a lack of memory while a process is being started."""
OUR_ERROR = re.compile(r"^trainables\.(?:contract\.\w+|errors\.reason\.TrialFailure): ")
"""The class that Python writes before the sentence of an error of ours."""
DISK_FULL = re.compile(r"\btrainables\.errors\.disk_full\.DiskFull: (.*)")
"""An error of a process to which a disk refused something."""
RAYS_DISK = "OutOfDiskError"
"""Ray's error where its own folder is on a disk that is full."""
EXIT_CODE = re.compile(r"Worker exits with an exit code (-?\d+)")
CONNECTION_ERROR = "Worker unexpectedly exits with a connection error"
"""Ray's words for a process that is gone."""
STORAGE_ERROR = re.compile(r"\bapp\.storage\.remote_folder\.StorageError: (.*)")
"""An error of a process to which the run's storage refused something."""
FAILURE_HEAD = re.compile(r"^Failure # \d+ \(occurred at .*\)\n", re.MULTILINE)
"""The line that Tune writes before each error in a trial's error file."""
DUMPS = (
    HUNG,
    reasons.FATAL,
    *(f"*** {signal.name} " for signal in reasons.SIGNALS.values()),
)
"""Beginnings of the first line of a stack in a log."""
LAST_LINES = 20
"""Number of lines of a failed trial's log that are kept with its error."""
LONGEST = 300
"""Number of characters that are kept of each of them."""
TAIL = 2**16
"""Number of bytes that are read of a log's end."""


def read_error(path: Path) -> str:
    """The last error in a trial's error file, in which Tune keeps them all."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return FAILURE_HEAD.split(text)[-1].strip()


def read_log_end(path: Path, start: int) -> list[str]:
    """The last lines of a log, without its first `start` bytes."""
    with path.open("rb") as file:
        begin = max(start, file.seek(0, os.SEEK_END) - TAIL)
        file.seek(begin)
        lines = file.read().decode("utf-8", "replace").splitlines()
    # The first of several may have lost its beginning.
    return lines[1:] if begin > start and len(lines) > 1 else lines


def lost_node(error: str) -> str | None:
    """The node with which a trial's process was lost; None where it was lost otherwise."""
    return error.partition(NODE_LOST)[2] or None


def failure_reason(error: str, log: Sequence[str], step_timeout: float | None) -> str:
    """Say why a trial's process failed.

    Args:
        error: The error's text, as Tune keeps it.
        log: The last lines of the trial's log.
        step_timeout: The seconds after which a method of the trainable counts as hung.
    """
    if NODE_LOST in error:
        return node_lost(error.partition(NODE_LOST)[2])
    if OUT_OF_MEMORY in error or LOW_ON_MEMORY in error:
        return "its process was ended because the machine ran out of memory"
    if step_timeout is not None and (start := _stack_of_hang(log)) is not None:
        place = reasons.locate_hang(log[start:])
        what = f"it hung: {hung_method(log[start:])} took longer than {step_timeout:g} s"
        return what + (place and f" ({place})")
    last = error.splitlines()[-1]
    if OUR_ERROR.match(last):
        return one_line(OUR_ERROR.sub("", last))
    if "RayTaskError" in error or "ray::" in error:
        return reasons.describe_traceback(error)
    return reasons.describe_crash(log) or _in_rays_words(last)


def refusal(error: str, folder: Path) -> str | None:
    """Say what refused to store more, and what helps; None where a process failed otherwise.

    `folder` is the run's.
    """
    if refused := STORAGE_ERROR.search(error):
        return refused[1]
    refused_by_disk = DISK_FULL.search(error)
    words = disk_full.find_refusal(error) if "ray::" in error else None
    if refused_by_disk:
        full = refused_by_disk[1]
    elif RAYS_DISK in error:
        full = "the disk of Ray's own folder is full"
    elif words:
        full = f"{folder}: {words}"
    else:
        return None
    return f"{full}; make room"


def last_lines(log: Sequence[str]) -> list[str]:
    """The last lines that a trial printed itself, shortened; stacks stay in the log."""
    stacks = (number for number, line in enumerate(log) if line.startswith(DUMPS))
    own = without_launcher(log[: next(stacks, None)])
    return [printable(line, LONGEST) for line in own[-LAST_LINES:]]


def _stack_of_hang(log: Sequence[str]) -> int | None:
    """The line from which on a log has the stack of a hung process; None where it did not hang."""
    starts = [number for number, line in enumerate(log) if line.startswith(HUNG)]
    if not starts or not all(reasons.is_stack_line(line) for line in log[starts[-1] + 1 :]):
        return None
    return starts[-1]


def _in_rays_words(last: str) -> str:
    """Say why a process was lost where its own log does not."""
    if code := EXIT_CODE.search(last):
        return f"{reasons.EXITED}{code[1]}"
    if CONNECTION_ERROR in last:
        return "its process was lost without a word: killed from outside, or for want of memory"
    return f"its process was lost: {printable(one_line(last), LONGEST)}"
