"""Commands of this project as child processes, whose output is kept until it is shown."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

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
        # A file and no pipe: nobody may read for hours.
        self._output = tempfile.TemporaryFile(prefix="tuneport-")  # noqa: SIM115
        weakref.finalize(self, self._output.close)
        path = os.pathsep.join(filter(None, sys.path))
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env={**os.environ, **(environment or {}), "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
        self._read_bytes = 0
        self._last_line = ""

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def output(self) -> str:
        """Return all that the command has printed."""
        return self._bytes(0).decode(errors="replace")

    def new_lines(self) -> list[str]:
        """Return the lines since the last call, but none that is half written."""
        # Asked before reading, so that the last lines are read after the end.
        ended = self.has_ended
        new = self._bytes(self._read_bytes)
        if not ended:
            new = new[: new.rfind(b"\n") + 1]
        self._read_bytes += len(new)
        lines = new.decode(errors="replace").splitlines()
        self._last_line = next((line for line in reversed(lines) if line.strip()), self._last_line)
        return lines

    def show(self) -> None:
        """Print the lines since the last call."""
        for line in self.new_lines():
            sys.stdout.write(f"{escaped(line)}\n")
        sys.stdout.flush()

    def wait(self, *, show: bool = True) -> None:
        """Wait for the end, and `show` the output; raises CommandError if the command fails."""
        with self.interruptible():
            while not self.has_ended:
                if show:
                    self.show()
                time.sleep(POLL_S)
            if show:
                self.show()
        self.check()

    def check(self) -> None:
        """Raise CommandError, with the command's last line, if it has ended and failed."""
        if self.has_ended and self._process.returncode != 0:
            self.new_lines()
            reason = self._last_line.strip().removeprefix("error: ")
            raise CommandError(reason or f"the command ended with {self._process.returncode}")

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Pass Ctrl-C on during the block, wait until the command has saved, and raise it again."""
        try:
            yield
        except KeyboardInterrupt:
            self._interrupt()
            self.show()
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

    def _bytes(self, offset: int) -> bytes:
        """Read the output from there on; the process writes where the file's own offset is."""
        chunks = []
        while chunk := os.pread(self._output.fileno(), CHUNK_BYTES, offset):
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
