"""A user's program as a child process that is streamed, and of which nothing is left behind."""

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
"""How long a program may take to end after SIGTERM, as on SageMaker."""
CHUNK = 2**16
LONGEST = 2**20
"""Bytes of a line that are looked at as one; what draws bars may never end its line."""


class Child:
    """A program under its guard, which outlives this process for as long as the program does."""

    ended_at = math.inf
    """When it ended, in seconds since 1970; it is known once it was waited for."""

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        folder: Path,
        lock: Path,
        *,
        shares_log: bool = False,
    ) -> None:
        """Start it in `folder` once what holds `lock`, an earlier start of the same, has ended.

        What it prints goes to stderr too, in whole lines where it shares that with others.
        """
        held = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(held, fcntl.LOCK_EX)
        reading, status = os.pipe()
        self._ended = os.fdopen(reading, "rb")
        self._status: int | None = None
        told = (str(GRACE_S), str(status), str(int(shares_log)))
        self._process = subprocess.Popen(
            [sys.executable, "-I", supervisor.__file__, *told, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=folder,
            env=dict(env),
            bufsize=0,
            pass_fds=(held, status),
        )
        for file in (held, status):
            os.close(file)
        self._process.wait()  # the guard goes on by itself

    def lines(self, alarm: int | None = None) -> Iterator[str]:
        """What it prints on stdout and stderr, as it comes; no more once `alarm` can be read."""
        for lines in self.batches(alarm):
            yield from lines

    def batches(self, alarm: int | None = None) -> Iterator[list[str]]:
        """The same, those lines together that come together."""
        return batches(self._chunks(alarm))

    def _chunks(self, alarm: int | None) -> Iterator[bytes]:
        """What it prints, an empty chunk at its end; none once `alarm` can be read."""
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
        """Its status as `subprocess` gives it, once all of it ended; None where that is lost."""
        if not self._ended.closed:
            text = self._ended.read()
            self._ended.close()
            if text:
                status, ended_at = text.split()
                self._status, self.ended_at = int(status), float(ended_at)
        return self._status

    def end(self) -> None:
        """Let its guard end it, where it goes on; what it prints until then can be read."""
        assert self._process.stdin is not None  # it is a pipe
        with suppress(BrokenPipeError):
            self._process.stdin.close()

    def close(self) -> None:
        """Let its guard end it, where it goes on; does not wait for that."""
        self.end()
        assert self._process.stdout is not None  # it is a pipe
        self._process.stdout.close()


def batches(chunks: Iterable[bytes]) -> Iterator[list[str]]:
    """The lines in what a program printed, those together that came together.

    After an empty chunk, which is the last, a line that never ended is one too.
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


def lines_of(log: Path) -> Iterator[str]:
    """The lines of a log as they were read when its program printed them; raises OSError."""
    with log.open("rb") as file:
        chunks = iter(lambda: file.read(CHUNK), b"")
        for lines in batches(chain(chunks, [b""])):
            yield from lines


def wait_until_free(lock: Path) -> None:
    """Wait until the program that was started with this lock has ended, however that came."""
    if not lock.exists():
        return
    with lock.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
