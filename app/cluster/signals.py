"""Signals that end a run: noted while Ray is called, raised where they can be."""

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that are handled; the last comes where the terminal is closed."""
REACT_S = 1.0
"""How long the main thread may take to notice a signal where nothing is to be saved."""
SAY_S = 0.5
"""How long the last sentence may take; whoever reads it may have stopped reading."""
KILL_COUNT = 3
"""The number of the signal that ends the process at once: the first saves, the second warns."""
STOP = 0
"""A byte that is no signal's number."""


class Interrupted(BaseException):
    """One of the signals; no `except Exception` on the way stops it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.status = 128 + signum


class SignalHandler:
    """Raises the signals as Interrupted, at once or at the next check.

    An exception that rises within Ray's own C code is lost there, so where Ray is called the
    signal is only noted, and `check` raises it.

    A command also gives `say`. Then a thread watches the main one, which code in C may hold: where
    nothing is to be saved, a signal ends the process within a second or two, and everywhere the
    third one ends it at once. What `last_words` returns is said before.
    """

    def __init__(self, say: Callable[[str], None] | None = None) -> None:
        self.last_words: Callable[[], str] = lambda: "interrupted before anything began"
        self._say = say
        self._signum: int | None = None
        """The first signal that came."""
        self._is_raised = False
        self._is_deferred = False
        self._is_saving = False
        self._is_installed = False
        self._count = 0

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle the signals during the block; restore the handlers afterwards.

        A signal that is ignored, as SIGHUP is under `nohup`, stays so.
        """
        if self._is_installed or threading.current_thread() is not threading.main_thread():
            yield
            return
        self._is_installed = True
        try:
            with handlers_restored(), self._watching():
                _handle_unless_ignored(self._handle)
                yield
        finally:
            self._is_installed = False

    @contextmanager
    def deferred(self, *, saves: bool = False) -> Iterator[None]:
        """Only note a signal during the block; raise it at the next check, or at the end.

        `saves` says that the block calls `check` itself, and saves something before it ends.
        """
        self._is_deferred, self._is_saving = True, saves
        try:
            yield
        finally:
            self._is_deferred = self._is_saving = False
        self.check()

    def check(self) -> None:
        """Raise Interrupted, once, if a signal came."""
        if self._signum is not None and not self._is_raised:
            self._is_raised = True
            raise Interrupted(self._signum)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        # Only the first is raised: a second one must not cut short what it set off.
        if self._signum is None:
            self._signum = signum
        if not self._is_deferred:
            self.check()

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Receive signals in a thread too, whatever holds the main one."""
        if self._say is None:
            yield
            return
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        thread = threading.Thread(target=self._watch, args=(reader,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            os.write(writer, bytes([STOP]))
            thread.join()
            os.close(reader)
            os.close(writer)

    def _watch(self, reader: int) -> None:
        deadline: float | None = None
        while True:
            wait_s = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([reader], [], [], wait_s)[0]:
                if not self._is_raised and not self._is_saving:
                    self._exit()
                deadline = None if self._is_raised else time.monotonic() + REACT_S
                continue
            for signum in os.read(reader, 64):
                if signum == STOP:
                    return
                if signum in ENDING:
                    deadline = deadline or time.monotonic() + REACT_S
                    self._receive(signum)

    def _receive(self, signum: int) -> None:
        self._count += 1
        if self._signum is None:
            self._signum = signum
        if self._count >= KILL_COUNT:
            self._exit()
        elif self._count == KILL_COUNT - 1:
            self._say_briefly("saving what is to be saved; once more ends it at once")

    def _exit(self) -> None:
        assert self._signum is not None  # a signal came
        self._say_briefly(self.last_words())
        os._exit(128 + self._signum)

    def _say_briefly(self, words: str) -> None:
        assert self._say is not None  # nobody watches without
        speaker = threading.Thread(target=self._say, args=(words,), daemon=True)
        speaker.start()
        speaker.join(SAY_S)


def exit_on_signals() -> None:
    """Let the signals end this process, with a sentence, while it imports what a command needs.

    A signal that was ignored when the process started stays so.
    """
    _handle_unless_ignored(_exit_now)


def _handle_unless_ignored(handler: Callable[[int, FrameType | None], None]) -> None:
    for signum in ENDING:
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, handler)


def _exit_now(signum: int, frame: FrameType | None) -> None:
    try:
        os.write(2, b"interrupted before anything began\n")
    finally:
        os._exit(128 + signum)


@contextmanager
def handlers_restored() -> Iterator[None]:
    """Restore the signal handlers that Ray replaces during the block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signums = (*ENDING, signal.SIGUSR1)
    handlers = {signum: signal.getsignal(signum) for signum in signums}
    try:
        yield
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
