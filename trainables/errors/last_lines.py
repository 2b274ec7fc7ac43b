"""Find why a program failed in what it printed: the exception that it died of, or its last line.

Covered:

- tracebacks of several processes in one log, each line behind a prefix of its process
- a launcher such as `torchrun`, which ends with an exception of its own after a worker's
- a message of several lines, whose first line is taken

Not covered: groups of exceptions, of which the last one is taken.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from trainables.errors.exit_status import describe_exit

TRACEBACK = "Traceback (most recent call last):"
FRAME = re.compile(r'\s+File "(?P<path>[^"]+)", line (?P<line>\d+)(?:, in (?P<name>\w+))?')
INSTALLED = re.compile(r"site-packages|dist-packages|/lib/python\d|^<")
"""Parts of the path of a frame that is not in the user's own code."""
LAUNCHERS = (
    "torch.distributed.elastic.multiprocessing.errors.ChildFailedError",
    "torch.multiprocessing.spawn.ProcessExitedException",
    "subprocess.CalledProcessError",
)
"""Exceptions of programs that started others, of which one has failed."""
LAUNCHER_OUTPUT = re.compile(r"[EWI]\d{4} \d\d:\d\d|\*{9,}|Setting OMP_NUM_THREADS|Traceback ")
"""Beginnings of lines that a launcher prints."""
OTHER_PROCESS_LOST = re.compile(
    r"[Cc]onnection (closed|reset|refused)|gloo/transport|ncclRemoteError|DistStoreError"
    r"|ProcessGroup\w+'s watchdog"
)
"""Words of exceptions that are raised because another process is gone, which is to blame."""
EXIT_CODE = re.compile(r"\s+exitcode\s*: (-?\d+)")
LINES_AFTER = 30
"""Lines that may follow the exception that a program dies of: of its message, or of others."""
LONGEST = 300
"""Characters that are shown of a program's last words."""


@dataclass
class RaisedError:
    """An exception in a log, from the head of its traceback on."""

    first_line: int
    """Number of the line with the head."""
    words: str = ""
    """The exception's type and the first line of its message."""
    last_line: int = 0
    place: str = ""
    """The last line of the user's own code that it went through."""

    @property
    def is_launchers(self) -> bool:
        """Whether it only tells of another program's failure."""
        return self.words.startswith(LAUNCHERS)

    @property
    def is_of_another_lost(self) -> bool:
        """Whether another process is to blame."""
        return OTHER_PROCESS_LOST.search(self.words) is not None

    def __str__(self) -> str:
        return f"{_shorten(self.words)}{f' ({self.place})' if self.place else ''}"


class LastWords:
    """Reads a program's lines; as a string it is the reason that they end with."""

    def __init__(self) -> None:
        self._count = 0
        self._last = self._own = ""
        self._open: dict[str, RaisedError] = {}
        """Tracebacks that are not complete, by the prefix of their lines."""
        self._errors: list[RaisedError] = []
        self._code: int | None = None
        """Status of the process that a launcher blames."""

    def read(self, line: str) -> None:
        """Read the next line; of one that overwrites itself, only the end is read."""
        text = line.rstrip().rpartition("\r")[2]
        if not text.strip():
            return
        self._count += 1
        self._last = text
        if text.endswith(TRACEBACK):
            self._open[_prefix(text.removesuffix(TRACEBACK))] = RaisedError(self._count)
        elif self._is_in_traceback(text):
            self._read_traceback(text)
        else:
            self._read_other(text)

    def _is_in_traceback(self, text: str) -> bool:
        if not self._open and FRAME.match(text):  # a SyntaxError of the script's has no head
            self._open[""] = RaisedError(self._count)
        return any(text.startswith(prefix) for prefix in self._open)

    def _read_traceback(self, text: str) -> None:
        prefix = max(filter(text.startswith, self._open), key=len)
        bare, error = text.removeprefix(prefix), self._open[prefix]
        if bare[:1].isspace():
            frame = FRAME.match(bare)
            if frame is not None and not INSTALLED.search(frame["path"]):
                inside = f", in {frame['name']}" if frame["name"] else ""
                error.place = f"{PurePath(frame['path']).name}, line {frame['line']}{inside}"
            return
        error.words, error.last_line = bare, self._count
        del self._open[prefix]
        self._errors.append(error)
        self._code = None

    def _read_other(self, text: str) -> None:
        """Read a line outside tracebacks: the rest of a message, or output of others."""
        error = self._errors[-1] if self._errors else None
        if error is not None and error.last_line == self._count - 1 and error.words[-1:] == ":":
            error.words += f" {text.strip()}"
            error.last_line = self._count
        elif error is not None and error.is_launchers:
            code = EXIT_CODE.match(text)
            self._code = int(code[1]) if code else self._code  # the last is the root cause
        elif not LAUNCHER_OUTPUT.match(text):
            self._own = text

    def __str__(self) -> str:
        if not self._errors:
            return _shorten(self._last)
        last = self._errors[-1]
        if last.is_launchers:
            return self._describe_worker(last)
        return str(self._cause(self._count) or _shorten(self._last))

    def _cause(self, end: int) -> RaisedError | None:
        """Return the exception of which a program died whose output ended with that line."""
        near = [error for error in self._errors if end - error.last_line < LINES_AFTER]
        own = [error for error in near if not error.is_launchers]
        to_blame = [error for error in own if not error.is_of_another_lost]
        return next(reversed(to_blame or own), None)

    def _describe_worker(self, launchers: RaisedError) -> str:
        """Describe the failure of the worker that a launcher's exception tells of."""
        cause = self._cause(launchers.first_line)
        if cause is not None:
            return str(cause)
        end = describe_exit("a process of it", self._code or 1)
        if not self._own:
            return end
        return f"{end}: {_shorten(self._own)}" if (self._code or 1) < 0 else _shorten(self._own)


def without_launcher(lines: Sequence[str]) -> Sequence[str]:
    """Return the lines before a launcher's own traceback and report, or all without one."""
    last = next((n for n, line in enumerate(lines) if line.startswith(LAUNCHERS)), None)
    heads = [n for n, line in enumerate(lines[:last]) if line == TRACEBACK]
    if last is None or not heads:
        return lines
    begin = heads[-1]
    while begin > 0 and LAUNCHER_OUTPUT.match(lines[begin - 1]):
        begin -= 1
    return lines[:begin] or lines


def _prefix(before: str) -> str:
    """Return the prefix of a traceback's lines, by what stands before its head.

    The mark of a process, such as `[rank0]: `, is one; a word, as in `Original Traceback`, is not.
    """
    return before if not before.strip() or before.rstrip()[-1] in ":])|>" else ""


def _shorten(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= LONGEST else f"{words[:LONGEST]}…"
