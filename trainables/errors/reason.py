"""Describe a trial's failure in one line: the user's own words, and the line in the user's file.

Described are exceptions, and what a process left of its end in text: a traceback, the stacks of a
hung process, and the last lines of one that crashed or called `os._exit`.
"""

import os
import re
import signal
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from trainables.contract import TrainableError
from trainables.errors.advice import advise
from trainables.errors.disk_full import str_of
from trainables.errors.exit_status import describe_exit
from trainables.errors.printable import one_line

OURS = Path(__file__).parents[2]
OWN_PACKAGES = (("app",), ("trainables",), ("serve",))
KINDS = ("", "_function", "_script", "_train")
EXAMPLES = tuple(Path("trainables", f"mnist{kind}.py") for kind in KINDS)
"""Files of ours that are trainables, whose lines are named like a user's own."""
FRAME = re.compile(r'^\s+File "(?P<file>.+?)", line (?P<line>\d+),? in (?P<name>\S+)')
"""A line of a traceback, or of a stack that `faulthandler` wrote."""
TRACEBACK = re.compile(r"^(?:ray::|.*Traceback \(most recent call last\))", re.MULTILINE)
"""Beginning of a text with a traceback in it."""
MODULES = re.compile(r"^(?:\w+\.)+(?=[A-Z_]\w*(?:: |$))")
"""Modules before the name of an exception."""
EXITED = "the process ended by itself with status "
"""Beginning of the last line of a process that called `os._exit`."""
FATAL = "Fatal Python error: "
"""Beginning of the line in which `faulthandler` names a signal that ends the process."""
STACK = ("Thread ", "Current thread ", "Stack ", "  ", "Extension modules: ")
"""Beginnings of the lines in which `faulthandler` writes stacks."""
SIGNALS = {
    "Segmentation fault": signal.SIGSEGV,
    "Aborted": signal.SIGABRT,
    "Bus error": signal.SIGBUS,
    "Floating-point exception": signal.SIGFPE,
    "Illegal instruction": signal.SIGILL,
}
"""Signals by `faulthandler`'s names for them."""

Frame = tuple[str, int, str]
"""A file, a line in it and the function that the line is in."""


class TrialFailure(Exception):
    """The failure of a trial as a sentence, which any process can unpickle."""


def describe(error: BaseException) -> str:
    """Describe an exception: its type, its first line and the user's line that it came from."""
    if isinstance(error, (TrainableError, TrialFailure)):
        return one_line(str_of(error))
    if isinstance(error, SystemExit):
        return _with_place(_describe_system_exit(error), frames_of(error))
    message = str_of(error)
    if TRACEBACK.search(message):
        return describe_traceback(message)  # of another process, such as a DataLoader's
    first = next((line for line in message.splitlines() if line.strip()), "")
    name = type(error).__name__
    words = one_line(f"{name}: {first}" if first else name)
    return _with_place(words, frames_of(error)) + advise(error)


def describe_traceback(text: str) -> str:
    """Describe the exception that a traceback ends with, as `describe` would."""
    lines = [line for line in text.splitlines() if line.strip()] or [""]
    at = [number for number, line in enumerate(lines) if FRAME.match(line)]
    after = lines[at[-1] + 1 :] if at else lines[-1:]
    words = next((line for line in after if not line[0].isspace()), lines[0])
    return _with_place(one_line(MODULES.sub("", words)), _read_frames(reversed(lines)))


def locate_hang(stacks: Sequence[str]) -> str:
    """Locate the user's line in the stacks of a hung process; empty where there is none."""
    threads: list[list[str]] = [[]]
    for line in stacks:
        if FRAME.match(line):
            threads[-1].append(line)
        else:
            threads.append([])
    # The newest thread comes first, and the trial's is older than those that it started.
    places = (locate(_read_frames(thread)) for thread in reversed(threads))
    return next((place for place in places if place), "")


def describe_crash(log: Sequence[str]) -> str | None:
    """Describe the end of a process by the last lines of its log; None where they say nothing."""
    last = next((line for line in reversed(log) if line.strip()), "")
    if last.startswith(EXITED):
        return one_line(last)
    fatal = [number for number, line in enumerate(log) if line.startswith(FATAL)]
    if not fatal:
        return None
    name = log[fatal[-1]].removeprefix(FATAL).strip()
    stack = log[fatal[-1] + 1 :]
    if not all(map(is_stack_line, stack)):
        return None  # the process went on, or the stack is that of an earlier one
    words = describe_exit("its process", -SIGNALS[name]) if name in SIGNALS else one_line(name)
    return _with_place(words, _read_frames(stack))


def is_stack_line(line: str) -> bool:
    """Whether a line is one of those in which `faulthandler` writes stacks."""
    return not line or line.startswith(STACK)


def log_exits() -> None:
    """Let this process log its status when the user's code ends it by `os._exit`.

    Nobody else can: the process is a child of Ray's, which says only that it ended.
    """
    if hasattr(os._exit, "__wrapped__"):
        return
    leave, own_pid = os._exit, os.getpid()

    def log_and_leave(status: int) -> None:
        stack = traceback.walk_stack(None)
        place = locate((frame.f_code.co_filename, at, frame.f_code.co_name) for frame, at in stack)
        # Not for a forked child, nor where Ray or this package ends the process.
        if place and os.getpid() == own_pid:
            os.write(2, f"\n{EXITED}{status} ({place})\n".encode())
        leave(status)

    log_and_leave.__wrapped__ = leave  # type: ignore[attr-defined]
    os._exit = log_and_leave  # type: ignore[assignment]


def frames_of(error: BaseException) -> list[Frame]:
    """Return the frames that an exception came through, the innermost first."""
    stack = traceback.walk_tb(error.__traceback__)
    return [(frame.f_code.co_filename, at, frame.f_code.co_name) for frame, at in stack][::-1]


def format_trace(error: BaseException) -> str:
    """Format an exception as Python does, each traceback from the user's first line on."""
    formatted = traceback.TracebackException.from_exception(error)
    pending = [formatted]
    while pending:
        part = pending.pop()
        users = (at for at, frame in enumerate(part.stack) if _is_users(frame.filename))
        del part.stack[: next(users, 0)]
        others = (part.__cause__, part.__context__, *(part.exceptions or ()))
        pending += [other for other in others if other is not None]
    return "".join(formatted.format())


def locate(innermost_first: Iterable[Frame]) -> str:
    """Name the user's innermost line: `mine.py, line 12, in step`; empty where there is none."""
    for file, at, name in innermost_first:
        if _is_users(file):
            return one_line(f"{Path(file).name}, line {at}, in {name}")
    return ""


def _describe_system_exit(error: SystemExit) -> str:
    code = 0 if error.code is None else error.code
    if isinstance(code, int):
        return f"{EXITED}{code}"
    return one_line(f"{EXITED}1: {code}")


def _with_place(words: str, frames: Iterable[Frame]) -> str:
    place = locate(frames)
    return f"{words} ({place})" if place else words


def _read_frames(lines: Iterable[str]) -> Iterator[Frame]:
    for match in map(FRAME.match, lines):
        if match is not None:
            yield match["file"], int(match["line"]), match["name"]


def _is_users(file: str) -> bool:
    """Whether a file is neither Python's, nor an installed package's, nor ours."""
    if file.startswith("<") or "site-packages" in file or "dist-packages" in file:
        return False
    if file.startswith((sysconfig.get_path("stdlib"), f"{sys.base_prefix}/lib/python")):
        return False
    path = _path_in_repository(Path(file))
    return path is None or path in EXAMPLES or path.parts[:1] not in OWN_PACKAGES


def _path_in_repository(file: Path) -> Path | None:
    """Return a file's path from our root, here or in Ray's copy of it; None for other files."""
    if file.is_relative_to(OURS):
        return file.relative_to(OURS)
    roots = [at for at, part in enumerate(file.parts) if part.startswith("_ray_pkg_")]
    return Path(*file.parts[roots[-1] + 1 :]) if roots else None
