"""Signals while a run goes on: noted where Ray is called, raised where nothing is lost by it."""

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM)
REACT_S = 1.0
"""How long the main thread may take to hear of a signal where nothing is to be saved."""
SAY_S = 0.5
"""How long the last sentence may take; whoever reads it may have stopped reading."""
AT_ONCE = 3
"""The signal that ends the process whatever it does: the first saves, the second warns."""
OVER = 0
"""No signal's number."""


class Interrupted(BaseException):
    """The user's Ctrl-C or somebody's SIGTERM; no `except Exception` on the way stops it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.status = 128 + signum


class Interrupts:
    """SIGINT and SIGTERM while a run goes on: raised as Interrupted, at once or when asked.

    An exception that rises within Ray's own C code is lost there, so where Ray is called the
    signal is only noted, and `check` raises it.

    A command also gives `say`. Then a thread looks after the main one, which may be held by
    somebody's code in C: where nothing is to be saved, a signal ends the process within a second or
    two, and everywhere the third one does so at once; `last_words` are said before.
    """

    def __init__(self, say: Callable[[str], None] | None = None) -> None:
        self.last_words: Callable[[], str] = lambda: "interrupted before anything began"
        self._say = say
        self._noted: int | None = None
        self._raised = False
        self._deferred = False
        self._asked_for = False
        self._handling = False
        self._count = 0

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle both signals; afterwards their handlers are those from before."""
        if self._handling or threading.current_thread() is not threading.main_thread():
            yield
            return
        self._handling = True
        try:
            with signals_kept(), self._watched():
                for signum in ENDING:
                    signal.signal(signum, self._handle)
                yield
        finally:
            self._handling = False

    @contextmanager
    def deferred(self, *, asked_for: bool = False) -> Iterator[None]:
        """Only note a signal; it is raised at the next check, at the latest at the end.

        With `asked_for`, what is done meanwhile asks by `check`, and saves something first.
        """
        self._deferred, self._asked_for = True, asked_for
        try:
            yield
        finally:
            self._deferred = self._asked_for = False
        self.check()

    def check(self) -> None:
        """Raise Interrupted, once, where a signal came."""
        if self._noted is not None and not self._raised:
            self._raised = True
            raise Interrupted(self._noted)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        # Only the first is raised: a second one must not cut short what it set off.
        if self._noted is None:
            self._noted = signum
        if not self._deferred:
            self.check()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Meanwhile hear of signals in a thread too, whatever holds the main one."""
        if self._say is None:
            yield
            return
        heard, told = os.pipe()
        os.set_blocking(told, False)
        before = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        thread = threading.Thread(target=self._watch, args=(heard,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            os.write(told, bytes([OVER]))
            thread.join()
            os.close(heard)
            os.close(told)

    def _watch(self, heard: int) -> None:
        until: float | None = None
        while True:
            wait_s = None if until is None else max(0.0, until - time.monotonic())
            if not select.select([heard], [], [], wait_s)[0]:
                if not self._raised and not self._asked_for:
                    self._end()
                until = None if self._raised else time.monotonic() + REACT_S
                continue
            for signum in os.read(heard, 64):
                if signum == OVER:
                    return
                if signum in ENDING:
                    until = until or time.monotonic() + REACT_S
                    self._came(signum)

    def _came(self, signum: int) -> None:
        self._count += 1
        if self._noted is None:
            self._noted = signum
        if self._count >= AT_ONCE:
            self._end()
        elif self._count == AT_ONCE - 1:
            self._tell("saving what is to be saved; once more ends it at once")

    def _end(self) -> None:
        assert self._noted is not None  # a signal came
        self._tell(self.last_words())
        os._exit(128 + self._noted)

    def _tell(self, words: str) -> None:
        assert self._say is not None  # nobody watches without
        speaker = threading.Thread(target=self._say, args=(words,), daemon=True)
        speaker.start()
        speaker.join(SAY_S)


def end_at_once() -> None:
    """Let both signals end this process, in words, while it imports what a command needs.

    Where it was started so that it does not hear of one, it still does not.
    """
    for signum in ENDING:
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, _end_now)


def _end_now(signum: int, frame: FrameType | None) -> None:
    try:
        os.write(2, b"interrupted before anything began\n")
    finally:
        os._exit(128 + signum)


@contextmanager
def signals_kept() -> Iterator[None]:
    """Put the handlers of signals back that Ray replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {
        each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    }
    try:
        yield
    finally:
        for signum, handler in kept.items():
            signal.signal(signum, handler)
