"""Why a trial failed, in one line: the user's own words, and where in the user's file.

`told` is for whoever has the exception; `raised`, `stuck` and `crash` read what a process left of
it in text: a traceback, the stack of a hung process, the last words of one that ended itself.
What takes no more, such as a full disk or a spent quota, is no failure of a trial's: `NoRoom`.
"""

import errno
import os
import re
import signal
import sys
import sysconfig
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from trainables.contract import TrainableError, advice
from trainables.errors.exit_status import describe_exit

SHOWN = 1000
"""Characters that are shown of what failed; the log of the trial has the rest."""
OURS = Path(__file__).parents[2]
OWN_PACKAGES = (("app",), ("trainables",), ("serve",))
EXAMPLES = (Path("trainables/mnist.py"), Path("trainables/mnist_script.py"))
"""Files of ours that are trainables, and told as a user's own."""
FRAME = re.compile(r'^\s+File "(?P<file>.+?)", line (?P<line>\d+),? in (?P<name>\S+)')
"""A line of a traceback, or of a stack that `faulthandler` wrote."""
TRACEBACK = re.compile(r"^(?:ray::|.*Traceback \(most recent call last\))", re.MULTILINE)
"""How text begins that has a traceback in it."""
MODULES = re.compile(r"^(?:\w+\.)+(?=[A-Z_]\w*(?:: |$))")
"""The modules before the name of an exception."""
COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
EXITED = "the process ended by itself with status "
"""How the last line begins that a process writes which `os._exit` ends."""
FATAL = "Fatal Python error: "
"""How `faulthandler` begins to tell of a signal that ends the process."""
STACK = ("Thread ", "Current thread ", "Stack ", "  ", "Extension modules: ")
"""How the lines begin in which it says where the process was."""
SIGNALS = {
    "Segmentation fault": signal.SIGSEGV,
    "Aborted": signal.SIGABRT,
    "Bus error": signal.SIGBUS,
    "Floating-point exception": signal.SIGFPE,
    "Illegal instruction": signal.SIGILL,
}
"""By what `faulthandler` calls them."""
FULL = (errno.ENOSPC, errno.EDQUOT)
FULL_WORDS = {
    # The system's, Python's, and Rust's, as in safetensors.
    number: re.compile(
        rf"{re.escape(os.strerror(number))}|\[Errno {number}\]|\bcode: {number}\b"
        rf"|\(os error {number}\)"
    )
    for number in FULL
}
"""What text says of an error that comes without its number when nothing more can be written."""
WRITE_WORDS = re.compile(
    r"iostream error|unexpected pos \d+ vs \d+|PytorchStreamWriter failed writing file"
    r"|\d+ requested and \d+ written"
)
"""What torch and numpy say of a write that failed, whatever the reason was."""
PROBE_BYTES = 2**16

Frame = tuple[str, int, str]
"""A file, a line in it and the function that the line is in."""


class Failed(Exception):
    """A failure of a trial as a sentence, which any process can unpickle."""


class NoRoom(Exception):
    """What refused to take more, and how: the run ends, and goes on once there is room."""


def told(error: BaseException) -> str:
    """Tell an exception in one line: its type, its first line, and the user's line it came from."""
    if isinstance(error, (TrainableError, Failed)):
        return line(_words(error))
    if isinstance(error, SystemExit):
        return _placed(_exit(error), frames(error))
    words = _words(error)
    if TRACEBACK.search(words):
        return raised(words)  # of another process, such as a DataLoader's
    first = next((each for each in words.splitlines() if each.strip()), "")
    name = type(error).__name__
    told = _placed(line(f"{name}: {first}" if first else name), frames(error))
    return told + advice(error)


def raised(text: str) -> str:
    """Tell the exception that a traceback ends with, as `told` would."""
    lines = [each for each in text.splitlines() if each.strip()] or [""]
    found = [number for number, each in enumerate(lines) if FRAME.match(each)]
    after = lines[found[-1] + 1 :] if found else lines[-1:]
    words = next((each for each in after if not each[0].isspace()), lines[0])
    return _placed(line(MODULES.sub("", words)), _read(reversed(lines)))


def stuck(stacks: Sequence[str]) -> str:
    """Tell where a hung process was in the user's file, by its stacks; empty if not known."""
    threads: list[list[str]] = [[]]
    for each in stacks:
        if FRAME.match(each):
            threads[-1].append(each)
        else:
            threads.append([])
    # The newest thread comes first, and what the trial runs in is older than what it started.
    places = (where(_read(thread)) for thread in reversed(threads))
    return next((place for place in places if place), "")


def crash(log: Sequence[str]) -> str | None:
    """Tell how a process ended, by the last lines of its log; None where they do not say."""
    last = next((each for each in reversed(log) if each.strip()), "")
    if last.startswith(EXITED):
        return line(last)
    fatal = [number for number, each in enumerate(log) if each.startswith(FATAL)]
    if not fatal:
        return None
    name = log[fatal[-1]].removeprefix(FATAL).strip()
    stack = log[fatal[-1] + 1 :]
    if not all(map(is_stack, stack)):
        return None  # it went on, or is of an earlier process
    told = describe_exit("its process", -SIGNALS[name]) if name in SIGNALS else line(name)
    return _placed(told, _read(stack))


def is_stack(text: str) -> bool:
    """Whether a line is of those in which `faulthandler` says where a process was."""
    return not text or text.startswith(STACK)


def probed(place: Path) -> OSError | None:
    """Write a little in a folder; the error that says that it takes no more, if one does."""
    try:
        with tempfile.TemporaryFile(dir=place, buffering=0) as file:
            file.write(bytes(PROBE_BYTES))
            os.fsync(file.fileno())
    except OSError as error:
        return error if error.errno in FULL else None
    return None


def no_room(
    error: BaseException | None,
    place: Path,
    probe: Callable[[Path], OSError | None] = probed,
) -> NoRoom | None:
    """What an exception says of a disk that takes no more, if that is why it came.

    It is known by the number of an error, the exception or one that led to it; where torch or
    numpy leave that out, by what `probe` says of `place`, a folder in which was to be written.
    """
    for each in _chain(error):
        words = _words(each)
        if isinstance(each, OSError) and each.errno in FULL:
            named = each.filename if isinstance(each.filename, str) else place
            return NoRoom(line(f"{named}: {os.strerror(each.errno)}"))
        if refusal := refusal_in(words):
            return NoRoom(line(f"{place}: {refusal}"))
        if WRITE_WORDS.search(words) and (refused := probe(place)) is not None:
            return no_room(refused, place)
    return None


def refusal_in(text: str) -> str | None:
    """The system's words for a disk that takes no more, if the text is of that."""
    return next((os.strerror(number) for number in FULL if FULL_WORDS[number].search(text)), None)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, and those that led to it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def tell_exits() -> None:
    """Let this process write its status into its log when the user's code ends it by `os._exit`.

    Nobody else can tell: the process is a child of Ray's, which says that it ended.
    """
    if hasattr(os._exit, "__wrapped__"):
        return
    leave, mine = os._exit, os.getpid()

    def tell(status: int) -> None:
        walked = traceback.walk_stack(None)
        place = where((each.f_code.co_filename, at, each.f_code.co_name) for each, at in walked)
        # A child that was forked, and what Ray or this package ends, is none of the trial's.
        if place and os.getpid() == mine:
            os.write(2, f"\n{EXITED}{status} ({place})\n".encode())
        leave(status)

    tell.__wrapped__ = leave  # type: ignore[attr-defined]
    os._exit = tell  # type: ignore[assignment]


def frames(error: BaseException) -> list[Frame]:
    """The frames that an exception came through, the innermost first."""
    walked = traceback.walk_tb(error.__traceback__)
    return [(each.f_code.co_filename, at, each.f_code.co_name) for each, at in walked][::-1]


def trace(error: BaseException) -> str:
    """Write an exception out as Python does, each traceback from the user's first line on."""
    told = traceback.TracebackException.from_exception(error)
    pending = [told]
    while pending:
        part = pending.pop()
        users = (at for at, frame in enumerate(part.stack) if _is_users(frame.filename))
        del part.stack[: next(users, 0)]
        led = (part.__cause__, part.__context__, *(part.exceptions or ()))
        pending += [each for each in led if each is not None]
    return "".join(told.format())


def where(innermost_first: Iterable[Frame]) -> str:
    """Name the innermost line that is the user's: `mine.py, line 12, in step`; empty if none is."""
    for file, at, name in innermost_first:
        if _is_users(file):
            return line(f"{Path(file).name}, line {at}, in {name}")
    return ""


def line(text: str) -> str:
    """Put text into one line that can be printed and is not long."""
    # What is far beyond the end is not worth looking at: there may be hundreds of megabytes.
    return shown(" ".join(COLOURS.sub("", text[: 4 * SHOWN]).split()), SHOWN)


def shown(text: str, most: int) -> str:
    """Escape what cannot be printed, and cut off what is more than so many characters."""
    bare = COLOURS.sub("", text[: 4 * most]).expandtabs()
    printed = "".join(each if each.isprintable() else _escaped(each) for each in bare)
    return printed if len(printed) <= most else f"{printed[:most]}…"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _words(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as failure:
        return f"its message cannot be read ({type(failure).__name__})"


def _exit(error: SystemExit) -> str:
    code = 0 if error.code is None else error.code
    if isinstance(code, int):
        return f"{EXITED}{code}"
    return line(f"{EXITED}1: {code}")


def _placed(words: str, found: Iterable[Frame]) -> str:
    place = where(found)
    return f"{words} ({place})" if place else words


def _read(lines: Iterable[str]) -> Iterator[Frame]:
    for match in map(FRAME.match, lines):
        if match is not None:
            yield match["file"], int(match["line"]), match["name"]


def _is_users(file: str) -> bool:
    """Whether a file is neither Python's, nor a package's, nor this one's, here or on a node."""
    if file.startswith("<") or "site-packages" in file or "dist-packages" in file:
        return False
    if file.startswith((sysconfig.get_path("stdlib"), f"{sys.base_prefix}/lib/python")):
        return False
    path = _path_in_repository(Path(file))
    return path is None or path in EXAMPLES or path.parts[:1] not in OWN_PACKAGES


def _path_in_repository(file: Path) -> Path | None:
    """The file's path from our root, here or in Ray's copy of it; None for any other file."""
    if file.is_relative_to(OURS):
        return file.relative_to(OURS)
    roots = [at for at, part in enumerate(file.parts) if part.startswith("_ray_pkg_")]
    return Path(*file.parts[roots[-1] + 1 :]) if roots else None
