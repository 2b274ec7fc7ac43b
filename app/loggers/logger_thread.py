"""A logger in a thread of its own, with a bounded queue: one that hangs never holds the search."""

import threading
import time
from collections.abc import Callable
from queue import Full, Queue
from typing import Protocol

from app.run.events import Event

MAX_WAITING = 10_000
"""Events that may wait for a logger; one that is further behind hangs."""


class Logger(Protocol):
    """Writes a run to a tool; whatever its methods raise ends the logging, not the search."""

    def on_event(self, event: Event) -> None:
        """Take an event of the journal, once the run's record contains it."""
        ...

    def close(self) -> None:
        """Write what is left, the model among it."""
        ...


class LoggerThread:
    """Makes a logger, hands it events in their order, and closes it, all in one thread.

    A logger that raises or hangs is left out, which is said in one sentence.
    """

    def __init__(self, build: Callable[[], Logger], leave_out: Callable[[str], None]) -> None:
        """Start the thread.

        Args:
            build: Makes the logger; imports what that needs.
            leave_out: Told, once, why the logger is left out.
        """
        self._build = build
        self._tell = leave_out
        self._events: Queue[Event | None] = Queue(MAX_WAITING)
        self._given = self._taken = 0
        self._lock = threading.Lock()
        self._is_left_out = False
        # No daemon: `app.terminal.command` ends a process that has such a thread at once, where
        # the exit handlers of a tool that hangs would hang, too.
        self._thread = threading.Thread(target=self._work, name="logger")
        self._thread.start()

    def on_event(self, event: Event) -> None:
        """Queue an event, without waiting."""
        self._given += 1
        self._put(event)

    def end(self) -> None:
        """Let the logger close, once it has taken all events, without waiting."""
        self._put(None)

    def wait(self, deadline: float) -> None:
        """Wait until the logger is closed, at most until a time of `time.monotonic`."""
        if not self._is_left_out:
            self._thread.join(max(0.0, deadline - time.monotonic()))
            if self._thread.is_alive():
                self._leave_out(f"does not end: it took {self._taken} of {self._given} events")

    def _put(self, event: Event | None) -> None:
        if self._is_left_out:
            return
        try:
            self._events.put_nowait(event)
        except Full:
            self._leave_out(f"hangs: it took {self._taken} of {self._given} events")

    def _work(self) -> None:
        try:
            logger = self._build()
            while (event := self._events.get()) is not None and not self._is_left_out:
                logger.on_event(event)
                self._taken += 1
            if event is None:
                logger.close()
        except (Exception, SystemExit) as error:  # each tool raises its own
            reason = " ".join(str(error).split()) or type(error).__name__
            self._leave_out(f"failed: {reason}")

    def _leave_out(self, reason: str) -> None:
        with self._lock:
            if self._is_left_out:
                return
            self._is_left_out = True
        self._tell(reason)
