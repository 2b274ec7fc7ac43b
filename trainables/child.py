"""A user's program as a child process that is streamed, and of which nothing is left behind."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from trainables import guard

GRACE_S = 120.0
"""How long a program may take to end after SIGTERM, as on SageMaker."""
LONGEST = 2**20
"""Bytes of a line that are looked at as one; what draws bars may never end its line."""


class Child:
    """A program under its guard, which outlives this process for as long as the program does."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], folder: Path, lock: Path
    ) -> None:
        """Start it in `folder` once what holds `lock`, an earlier start of the same, has ended."""
        held = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(held, fcntl.LOCK_EX)
        reading, status = os.pipe()
        self._ended = os.fdopen(reading, "rb")
        self._status: int | None = None
        guarded = [sys.executable, "-I", guard.__file__, str(GRACE_S), str(status)]
        self._process = subprocess.Popen(
            [*guarded, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=folder,
            env=dict(env),
            pass_fds=(held, status),
        )
        for file in (held, status):
            os.close(file)
        self._process.wait()  # the guard goes on by itself

    def lines(self) -> Iterator[str]:
        """What it prints on stdout and stderr, as it comes."""
        assert self._process.stdout is not None  # it is a pipe
        while line := self._process.stdout.readline(LONGEST):
            yield line.decode("utf-8", "replace")

    def wait(self) -> int | None:
        """Its status as `subprocess` gives it, once all of it ended; None where that is lost."""
        if not self._ended.closed:
            text = self._ended.read()
            self._ended.close()
            self._status = int(text) if text else None
        return self._status

    def close(self) -> None:
        """Let its guard end it, where it goes on; does not wait for that."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None  # both are pipes
            with suppress(BrokenPipeError):
                pipe.close()


def wait_until_free(lock: Path) -> None:
    """Wait until the program that was started with this lock has ended, however that came."""
    if not lock.exists():
        return
    with lock.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)


def ending(name: str, status: int | None) -> str:
    """How a program ended, in a few words."""
    if status is None:
        return f"{name} was lost with the process that watched it"
    if status < 0:
        by = signal.Signals(-status).name
        memory = ", perhaps for want of memory" if status == -signal.SIGKILL else ""
        return f"{name} was killed by {by}{memory}"
    return f"{name} ended with status {status}"
