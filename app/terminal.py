"""Standard streams of a command: open from its start, and safe to read in a terminal.

Messages on stderr are dropped while nobody reads them: a search goes on in silence. Data on stdout
is what the command is for: if it cannot be written, the command says so and ends.
"""

import argparse
import errno
import io
import os
import re
import select
import signal
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any, NoReturn, TextIO, cast

CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Characters that could move the cursor or rename the window, but for tabs and line ends."""
HUNG_UP = (errno.EIO, errno.ENXIO, errno.EBADF)
"""Errors of writing to a terminal that was closed."""
PATIENCE_MS = 500
"""Time for which a terminal that stands still is waited for before messages are dropped."""


class Version(argparse.Action):
    """Prints the version and exits: looking it up takes longer than all else of `--help`."""

    def __init__(self, option_strings: Sequence[str], dest: str, **named: Any) -> None:
        named.update(nargs=0, default=argparse.SUPPRESS, help="print the version")
        super().__init__(option_strings, dest, **named)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        """Print it on stdout."""
        from importlib import metadata

        sys.stdout.write(f"tuneport {metadata.version('tuneport')}\n")
        parser.exit()


class OutputError(Exception):
    """Data that cannot be written to stdout, in one sentence."""


class ReaderGone(BrokenPipeError):
    """The reader of stdout has closed it."""


def escaped(text: str) -> str:
    r"""Show control characters, an escape as `\x1b`; lines stay lines."""
    return CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def in_one_line(text: str) -> str:
    """Show control characters, line ends and tabs among them."""
    return escaped(text.replace("\n", "\\n").replace("\t", "\\t"))


def sentence(error: BaseException) -> str:
    """Return the last line of a command that ends by a known error."""
    lines = map(str.strip, str(error).splitlines())
    return f"error: {in_one_line(' '.join(filter(None, lines)))}"


def command(main: Callable[[], None]) -> NoReturn:
    """Run a command and end this process with its status, whatever its threads still do.

    The status is 128 + SIGPIPE if the reader of its data has closed stdout.
    """
    with guarded_streams():
        status = _status(main)
        sys.stderr.flush()
    # Python would wait for threads that may be in somebody's code for ever.
    if any(not thread.daemon for thread in threading.enumerate() if thread.name != "MainThread"):
        os._exit(status)
    sys.exit(status)


def _status(main: Callable[[], None]) -> int:
    try:
        main()
        sys.stdout.flush()
    except SystemExit as end:
        if not isinstance(end.code, str):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
        return 1
    except ReaderGone:
        return 128 + signal.SIGPIPE
    except OutputError as error:
        sys.stderr.write(f"{sentence(error)}\n")
        return 1
    return 0


@contextmanager
def guarded_streams() -> Iterator[None]:
    """Open missing standard streams, and handle failed writes to them during the block."""
    _open_standard_streams()
    stdout, stderr = sys.stdout, sys.stderr
    messages = _Messages(stderr)
    sys.stdout = cast(TextIO, _Data(stdout))
    sys.stderr = cast(TextIO, messages)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = stdout, stderr
        messages.leave_terminal()


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send all that is printed during the block to stderr, also by child processes."""
    sys.stdout.flush()
    original = os.dup(1)
    os.dup2(2, 1)
    stderr: Any = sys.stderr
    numbers = stderr.numbers if isinstance(stderr, _Messages) else set()
    numbers.add(1)
    try:
        with redirect_stdout(stderr):
            yield
    finally:
        numbers.remove(1)
        os.dup2(original, 1)
        os.close(original)


@contextmanager
def muted() -> Iterator[None]:
    """Drop what this thread writes to stderr during the block; other threads are still heard."""
    stream, mute = sys.stderr, _Mute(sys.stderr)
    sys.stderr = cast(TextIO, mute)
    try:
        yield
    finally:
        mute.thread = None  # Somebody else may hold it by now.
        if sys.stderr is cast(TextIO, mute):
            sys.stderr = stream


class _Mute:
    """A stream that drops what the thread that made it writes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.thread: int | None = threading.get_ident()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the text of another thread."""
        return len(text) if threading.get_ident() == self.thread else self._stream.write(text)


def _open_standard_streams() -> None:
    """Open streams that are closed, lest a file take their number and be written to."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # The system gives the lowest number that is free, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


class _Stream(ABC):
    """A stream that calls `_failed` instead of raising if it cannot be written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.numbers: set[int] = set()
        """Other file descriptors that lead where the stream does."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text; characters that the encoding lacks as their numbers."""
        try:
            return self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding
            return self.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except (OSError, ValueError) as error:
            self._failed(error)
            return len(text)

    def writelines(self, lines: Any) -> None:
        """Write them one by one."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush the stream."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._failed(error)

    @abstractmethod
    def _failed(self, error: OSError | ValueError) -> None:
        """Handle a write or flush that failed."""

    def _go_nowhere(self) -> None:
        """Point the stream's descriptors at /dev/null, so that later writes succeed."""
        with suppress(OSError, ValueError, io.UnsupportedOperation):
            numbers = {self._stream.fileno(), *self.numbers}
            nowhere = os.open(os.devnull, os.O_WRONLY)
            for number in numbers:
                os.dup2(nowhere, number)
            os.close(nowhere)


class _Terminal:
    """A terminal that is written without blocking, through a descriptor of its own.

    The flags of the stream's descriptor are shared with other processes, and stay as they are.
    """

    def __init__(self, stream: TextIO) -> None:
        """Open the stream's terminal once more; raises OSError or ValueError if it is none."""
        self._encoding = stream.encoding
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY
        self._number = os.open(os.ttyname(stream.fileno()), flags)
        self._poll = select.poll()
        self._poll.register(self._number, select.POLLOUT)
        self._is_read = True
        """Whether the last text was taken whole; if not, the next is not waited for."""

    def write(self, text: str) -> None:
        """Write a text, or as much as the terminal takes; raises OSError where it is closed."""
        content = text.encode(self._encoding, "backslashreplace")
        try:
            while content:
                if not self._poll.poll(PATIENCE_MS if self._is_read else 0):
                    raise BlockingIOError
                content = content[os.write(self._number, content) :]
        except BlockingIOError:
            self._is_read = False
        else:
            self._is_read = True

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._number)


class _Messages(_Stream):
    """Messages, which are dropped while a terminal stands still, and once nobody reads them."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._terminal: _Terminal | None = None
        with suppress(OSError, ValueError):
            self._terminal = _Terminal(stream)

    def write(self, text: str) -> int:
        """Write a text, to a terminal as much as it takes."""
        terminal = self._terminal
        if terminal is None:
            return super().write(text)
        try:
            terminal.write(text)
        except OSError as error:
            self._failed(error)
        return len(text)

    def leave_terminal(self) -> None:
        """Write to the stream itself from now on."""
        terminal, self._terminal = self._terminal, None
        if terminal is not None:
            terminal.close()

    def _failed(self, error: OSError | ValueError) -> None:
        if not isinstance(error, BlockingIOError):
            self.leave_terminal()
            self._go_nowhere()


class _Data(_Stream):
    def _failed(self, error: OSError | ValueError) -> None:
        self._go_nowhere()
        if isinstance(error, BrokenPipeError):
            raise ReaderGone(error.errno, error.strerror) from error
        if isinstance(error, OSError) and error.errno not in HUNG_UP:
            raise OutputError(f"stdout: cannot be written: {error.strerror}") from error
