"""Signals while a run goes on: noted where Ray is called, raised where nothing is lost by it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(BaseException):
    """The user's Ctrl-C or somebody's SIGTERM; no `except Exception` on the way stops it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.status = 128 + signum


class Interrupts:
    """SIGINT and SIGTERM while a run goes on: raised as Interrupted, at once or when asked.

    An exception that rises within Ray's own C code is lost there, so where Ray is called the
    signal is only noted, and `check` raises it.
    """

    def __init__(self) -> None:
        self._noted: int | None = None
        self._raised = False
        self._deferred = False

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle both signals; afterwards their handlers are those from before."""
        with signals_kept():
            if threading.current_thread() is threading.main_thread():
                for signum in (signal.SIGINT, signal.SIGTERM):
                    signal.signal(signum, self._handle)
            yield

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Only note a signal; it is raised at the next check, at the latest at the end."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        self.check()

    def check(self) -> None:
        """Raise Interrupted, once, where a signal came."""
        if self._noted is not None and not self._raised:
            self._raised = True
            raise Interrupted(self._noted)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        # Only the first counts: a second one must not cut short what it set off.
        if self._noted is None:
            self._noted = signum
        if not self._deferred:
            self.check()


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
