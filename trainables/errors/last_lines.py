"""What a program said of its end: the exception that it died of, or its last line.

Covered: tracebacks of several processes in one log, each line behind a prefix of its process; a
launcher such as `torchrun`, which ends with an exception of its own after a worker's; a message of
several lines, of which the first tells. Not covered: groups of exceptions, of which the last one's
words are told.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from trainables.errors.exit_status import describe_exit

TRACEBACK = "Traceback (most recent call last):"
FRAME = re.compile(r'\s+File "(?P<path>[^"]+)", line (?P<line>\d+)(?:, in (?P<name>\w+))?')
INSTALLED = re.compile(r"site-packages|dist-packages|/lib/python\d|^<")
"""In the path of a frame that is not of the user's own code."""
LAUNCHERS = (
    "torch.distributed.elastic.multiprocessing.errors.ChildFailedError",
    "torch.multiprocessing.spawn.ProcessExitedException",
    "subprocess.CalledProcessError",
)
"""Exceptions of a program that started others, of which one has failed."""
OF_LAUNCHERS = re.compile(r"[EWI]\d{4} \d\d:\d\d|\*{9,}|Setting OMP_NUM_THREADS|Traceback ")
"""What lines begin with that a launcher prints."""
LOST_PEER = re.compile(
    r"[Cc]onnection (closed|reset|refused)|gloo/transport|ncclRemoteError|DistStoreError"
    r"|ProcessGroup\w+'s watchdog"
)
"""In exceptions of processes that have lost another one, which is to blame."""
EXIT_CODE = re.compile(r"\s+exitcode\s*: (-?\d+)")
AFTERWARDS = 30
"""Lines that may follow on an exception of which a program dies: its message's, others' noise."""
SHOWN = 300
"""Characters that are shown of what a program said last."""


@dataclass
class Raised:
    """An exception, from the head of its traceback on."""

    began: int
    """The number of the line."""
    words: str = ""
    """Its type and its message's first line."""
    ended: int = 0
    where: str = ""
    """The last line of the user's own code that it went through."""

    @property
    def is_launchers(self) -> bool:
        """Whether it only tells of another program's failure."""
        return self.words.startswith(LAUNCHERS)

    @property
    def is_of_a_lost_peer(self) -> bool:
        """Whether another process is to blame."""
        return LOST_PEER.search(self.words) is not None

    def __str__(self) -> str:
        return f"{_shown(self.words)}{f' ({self.where})' if self.where else ''}"


class LastWords:
    """Listens to a program, and tells what it said last."""

    def __init__(self) -> None:
        self._heard = 0
        self._last = self._own = ""
        self._open: dict[str, Raised] = {}
        """The tracebacks that go on, by what stands before each line of theirs."""
        self._raised: list[Raised] = []
        self._code: int | None = None
        """The status of the process that a launcher blames."""

    def hear(self, line: str) -> None:
        """Listen to the next line; of what is drawn over itself only the end is there."""
        text = line.rstrip().rpartition("\r")[2]
        if not text.strip():
            return
        self._heard += 1
        self._last = text
        if text.endswith(TRACEBACK):
            self._open[_mark(text.removesuffix(TRACEBACK))] = Raised(self._heard)
        elif self._is_in_traceback(text):
            self._hear_traceback(text)
        else:
            self._hear_other(text)

    def _is_in_traceback(self, text: str) -> bool:
        if not self._open and FRAME.match(text):  # Python refuses the script's own syntax so
            self._open[""] = Raised(self._heard)
        return any(text.startswith(prefix) for prefix in self._open)

    def _hear_traceback(self, text: str) -> None:
        prefix = max(filter(text.startswith, self._open), key=len)
        bare, raised = text.removeprefix(prefix), self._open[prefix]
        if bare[:1].isspace():
            frame = FRAME.match(bare)
            if frame is not None and not INSTALLED.search(frame["path"]):
                inside = f", in {frame['name']}" if frame["name"] else ""
                raised.where = f"{PurePath(frame['path']).name}, line {frame['line']}{inside}"
            return
        raised.words, raised.ended = bare, self._heard
        del self._open[prefix]
        self._raised.append(raised)
        self._code = None

    def _hear_other(self, text: str) -> None:
        """What follows on an exception: its message, where that goes on, and what others say."""
        raised = self._raised[-1] if self._raised else None
        if raised is not None and raised.ended == self._heard - 1 and raised.words[-1:] == ":":
            raised.words += f" {text.strip()}"
            raised.ended = self._heard
        elif raised is not None and raised.is_launchers:
            code = EXIT_CODE.match(text)
            self._code = int(code[1]) if code else self._code  # the last is the root cause
        elif not OF_LAUNCHERS.match(text):
            self._own = text

    def __str__(self) -> str:
        if not self._raised:
            return _shown(self._last)
        last = self._raised[-1]
        if last.is_launchers:
            return self._of_worker(last)
        return str(self._cause(self._heard) or _shown(self._last))

    def _cause(self, end: int) -> Raised | None:
        """The exception of which a program died that ended with that line."""
        near = [each for each in self._raised if end - each.ended < AFTERWARDS]
        own = [each for each in near if not each.is_launchers]
        to_blame = [each for each in own if not each.is_of_a_lost_peer]
        return next(reversed(to_blame or own), None)

    def _of_worker(self, launchers: Raised) -> str:
        """What a worker said, of whose failure its launcher tells."""
        cause = self._cause(launchers.began)
        if cause is not None:
            return str(cause)
        told = describe_exit("a process of it", self._code or 1)
        if not self._own:
            return told
        return f"{told}: {_shown(self._own)}" if (self._code or 1) < 0 else _shown(self._own)


def without_launcher(lines: Sequence[str]) -> Sequence[str]:
    """The lines before a launcher's own traceback and report, where there are any."""
    last = next((n for n, line in enumerate(lines) if line.startswith(LAUNCHERS)), None)
    heads = [n for n, line in enumerate(lines[:last]) if line == TRACEBACK]
    if last is None or not heads:
        return lines
    begin = heads[-1]
    while begin > 0 and OF_LAUNCHERS.match(lines[begin - 1]):
        begin -= 1
    return lines[:begin] or lines


def _mark(before: str) -> str:
    """What stands before each line of a traceback, by what does before its head.

    A mark of a process, such as `[rank0]: `, does; a word, as in `Original Traceback`, does not.
    """
    return before if not before.strip() or before.rstrip()[-1] in ":])|>" else ""


def _shown(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= SHOWN else f"{words[:SHOWN]}…"
