"""A user's program as a child process: streamed, and ended with every process that it started."""

import fcntl
import math
import os
import select
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path

from trainables.script import supervisor

GRACE_S = 120.0
"""Seconds that a program may take to end after SIGTERM, as on SageMaker."""
CHUNK = 2**16
LONGEST = 2**20
"""Bytes after which a line is cut: a progress bar may never end its line."""


class ScriptProcess:
    """A program under a supervisor, which outlives this process for as long as the program runs."""

    ended_at = math.inf
    """Seconds since 1970 when it ended; known after `wait`."""

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        folder: Path,
        lock: Path,
        *,
        shares_log: bool = False,
    ) -> None:
        """Start the program in a folder, once an earlier one that holds the lock has ended.

        Its output goes to stderr too, in whole lines where other programs share that.
        """
        lock_file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(lock_file, fcntl.LOCK_EX)
        reading, status = os.pipe()
        self._ended = os.fdopen(reading, "rb")
        self._status: int | None = None
        options = (str(GRACE_S), str(status), str(int(shares_log)))
        self._process = subprocess.Popen(
            [sys.executable, "-I", supervisor.__file__, *options, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=folder,
            env=dict(env),
            bufsize=0,
            pass_fds=(lock_file, status),
        )
        for file in (lock_file, status):
            os.close(file)
        self._process.wait()  # the supervisor has forked and goes on by itself

    def lines(self, alarm: int | None = None) -> Iterator[str]:
        """Yield the lines of stdout and stderr as they come, until the file `alarm` can be read."""
        for lines in self.batches(alarm):
            yield from lines

    def batches(self, alarm: int | None = None) -> Iterator[list[str]]:
        """Yield the same lines, those together that come together."""
        return _split_lines(self._chunks(alarm))

    def _chunks(self, alarm: int | None) -> Iterator[bytes]:
        """Yield output as it comes and an empty chunk at its end, until `alarm` can be read."""
        assert self._process.stdout is not None  # it is a pipe
        output = self._process.stdout.fileno()
        poll = select.poll()
        for file in (output, *(() if alarm is None else (alarm,))):
            poll.register(file, select.POLLIN)
        while alarm not in {file for file, _ in poll.poll()}:
            chunk = os.read(output, CHUNK)
            yield chunk
            if not chunk:
                return

    def wait(self) -> int | None:
        """Wait for all its processes; return its status, or None where the supervisor was lost."""
        if not self._ended.closed:
            text = self._ended.read()
            self._ended.close()
            if text:
                status, ended_at = text.split()
                self._status, self.ended_at = int(status), float(ended_at)
        return self._status

    def end(self) -> None:
        """Let the supervisor end it; what it prints until then can still be read."""
        assert self._process.stdin is not None  # it is a pipe
        with suppress(BrokenPipeError):
            self._process.stdin.close()

    def close(self) -> None:
        """Let the supervisor end it, and stop reading its output."""
        self.end()
        assert self._process.stdout is not None  # it is a pipe
        self._process.stdout.close()


def _split_lines(chunks: Iterable[bytes]) -> Iterator[list[str]]:
    """Split output into lines, those together that came together.

    After an empty chunk, the last one, a line without an end is a line too.
    """
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        lines = [line + b"\n" for line in whole]
        if rest and (not chunk or len(rest) >= LONGEST):
            lines.append(rest)
            rest = b""
        if lines:
            yield [line.decode("utf-8", "replace") for line in lines]


def read_lines(log: Path) -> Iterator[str]:
    """Yield the lines of a log as they are read from a program; raises OSError."""
    with log.open("rb") as file:
        chunks = iter(lambda: file.read(CHUNK), b"")
        for lines in _split_lines(chain(chunks, [b""])):
            yield from lines


def wait_until_free(lock: Path) -> None:
    """Wait until the program that was started with this lock has ended."""
    if not lock.exists():
        return
    with lock.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
