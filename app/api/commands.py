"""Commands of this project as child processes, whose output is kept until it is shown."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

from app.terminal import escaped

POLL_S = 0.1
CHUNK_BYTES = 2**16


class CommandError(Exception):
    """A command that failed, in its own sentence."""


class Command:
    """`python -m MODULE` in a process of its own.

    Ctrl-C, and the interrupt of a notebook's cell, do not reach it: whoever waits for it passes
    them on.
    """

    def __init__(
        self, module: str, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start the command; `environment` has variables beside those of this process."""
        # Files and no pipes: nobody may read for hours.
        self._data, self._talk = (tempfile.TemporaryFile() for _ in range(2))  # noqa: SIM115  # for finalize
        for file in (self._data, self._talk):
            weakref.finalize(self, file.close)
        path = os.pathsep.join(filter(None, sys.path))
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env={**os.environ, **(environment or {}), "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=self._data,
            stderr=self._talk,
            process_group=0,
        )
        self._data_bytes = self._talk_bytes = 0
        self._last_line = ""

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def output(self) -> str:
        """Return all messages of the command so far."""
        return _read(self._talk, 0).decode(errors="replace")

    def new_lines(self) -> list[str]:
        """Return the lines of its messages since the last call, but none that is half written."""
        # Asked before reading, so that the last lines are read after the end.
        ended = self.has_ended
        new = _read(self._talk, self._talk_bytes)
        if not ended:
            new = new[: new.rfind(b"\n") + 1]
        self._talk_bytes += len(new)
        lines = new.decode(errors="replace").splitlines()
        self._last_line = next((line for line in reversed(lines) if line.strip()), self._last_line)
        return lines

    def show(self) -> None:
        """Print the messages since the last call."""
        write("\n".join(self.new_lines()))

    def show_result(self) -> None:
        """Print what the command has for data since the last call; it prints that at its end."""
        new = _read(self._data, self._data_bytes)
        self._data_bytes += len(new)
        write(new.decode(errors="replace"))

    def wait(self, poll: Callable[[], object] | None = None) -> None:
        """Wait for the end; raises CommandError if the command fails.

        `poll` is called meanwhile and once more after the end, as a rule to show the messages.
        """
        poll = poll or self.new_lines
        with self.interruptible(poll):
            while not self.has_ended:
                poll()
                time.sleep(POLL_S)
            poll()
        self.check()

    def check(self) -> None:
        """Raise CommandError, with the command's last line, if it has ended and failed."""
        if self.has_ended and self._process.returncode != 0:
            self.new_lines()
            reason = self._last_line.strip().removeprefix("error: ")
            raise CommandError(reason or f"the command ended with {self._process.returncode}")

    @contextmanager
    def interruptible(self, poll: Callable[[], object]) -> Iterator[None]:
        """Pass Ctrl-C on during the block, wait until the command has saved, and raise it again.

        `poll` is called after its end.
        """
        try:
            yield
        except KeyboardInterrupt:
            self._interrupt()
            poll()
            raise

    def terminate(self, grace_s: float) -> None:
        """Send SIGTERM, kill the process if that takes longer, and return once it has ended."""
        self._process.terminate()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _interrupt(self) -> None:
        """Send SIGINT, and again whenever it comes again, until the process has ended."""
        while True:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait()
            except KeyboardInterrupt:
                continue
            return


def write(text: str) -> None:
    """Print lines with their control characters shown."""
    if text:
        sys.stdout.write(f"{escaped(text.rstrip())}\n")
        sys.stdout.flush()


def _read(file: IO[bytes], offset: int) -> bytes:
    """Read a file from there on; the process writes where the file's own offset is."""
    chunks = []
    while chunk := os.pread(file.fileno(), CHUNK_BYTES, offset):
        chunks.append(chunk)
        offset += len(chunk)
    return b"".join(chunks)


def as_flags(values: Mapping[str, Any]) -> list[str]:
    """Spell keyword arguments as flags: `{"log_json": True, "workers": 2}` is two of them.

    False and None leave a flag out; a list repeats it.
    """
    words = []
    for name, value in values.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(flag)
        elif value is not None and value is not False:
            several = value if isinstance(value, list | tuple) else (value,)
            words += [f"{flag}={one}" for one in several]
    return words
