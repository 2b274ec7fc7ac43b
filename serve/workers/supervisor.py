"""Workers that answer on one address, each with a socket of its own: told together, replaced alone.

The sockets stay with this process, so that who waits for a worker that dies is answered by the
next. A model is loaded by all workers or by none.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from serve.http.shared_counters import create_file
from serve.models.manifest import ArtifactError
from serve.server.sockets import has_pending_connection, refuse_new_connections
from serve.workers.process import Life, LostError

LOAD_SECONDS = 250.0
"""How long a model may take to be loaded: as long as handlers may, and a little."""
SWITCH_SECONDS = 10.0
END_SECONDS = 25.0
"""How long workers may take to end: as long as they drain, and a little."""
LONGEST_PAUSE = 30.0
"""Seconds before a start after many that failed."""


class Fleet:
    """Workers, as many as there are sockets; a context manager, which ends them."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        settings: Mapping[str, Any],
        say: Callable[[str], None],
    ) -> None:
        self._listeners = list(listeners)
        self._settings = settings
        self._say = say
        self._board = create_file(len(self._listeners))
        self._changing = threading.Lock()
        self._members: dict[int, Life] = {}
        """The workers that have every model that is loaded."""
        self._begun: dict[int, Life] = {}
        """The workers, those included that do not have them yet."""
        self._loaded: list[Path] = []
        self._current: Path | None = None
        self._ending = threading.Event()
        self._keepers: list[threading.Thread] = []

    def __enter__(self) -> Self:
        for number in range(len(self._listeners)):
            self._members[number] = self._begin(number)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.set()
        for listener in self._listeners:
            listener.close()
        for life in list(self._begun.values()):
            life.kill()
            life.wait()
        for keeper in self._keepers:
            keeper.join()
        self._board.close()

    def load(self, folder: Path) -> None:
        """Let every worker load a model, or none; an `ArtifactError` says why one does not."""
        with self._changing:
            self._loaded.append(folder)  # Whoever joins from now on loads it too.
            lives = self._lives()
        try:
            _all(lives, LOAD_SECONDS, "load", folder=str(folder))
        except LostError as error:
            self.drop(folder)
            raise ArtifactError(f"{error} as it loaded the model") from error
        except ArtifactError:
            self.drop(folder)
            raise

    def answer(self, folder: Path) -> None:
        """Let every worker answer by a model that all have; who does not is replaced."""
        with self._changing:
            self._current = folder
            told = [(life, life.tell("answer", folder=str(folder))) for life in self._lives()]
            for life, future in told:
                # One that has ended is replaced, and one that is ending answers no more.
                with contextlib.suppress(ArtifactError, LostError):
                    try:
                        future.result(SWITCH_SECONDS)
                    except TimeoutError:
                        life.kill()

    def drop(self, folder: Path) -> None:
        """Let every worker forget a model."""
        with self._changing:
            self._loaded.remove(folder)
            for life in self._lives():
                life.tell("drop", folder=str(folder))

    def serve(self) -> None:
        """Let every worker answer requests, and look after them from now on."""
        _all(self._members.values(), LOAD_SECONDS, "serve", **self._settings)
        for number, life in self._members.items():
            keeper = threading.Thread(target=self._keep, args=(number, life), daemon=True)
            self._keepers.append(keeper)
            keeper.start()

    def end(self) -> None:
        """Let every worker answer who has come, and end."""
        self._ending.set()
        for listener in self._listeners:
            refuse_new_connections(listener)
        with self._changing:
            for number, life in self._members.items():
                self._let_end(number, life)
        until = time.monotonic() + END_SECONDS
        for keeper in self._keepers:
            keeper.join(max(0.0, until - time.monotonic()))

    def _lives(self) -> list[Life]:
        return list(self._members.values())

    def _begin(self, number: int) -> Life:
        life = Life(number, len(self._listeners), self._listeners[number], self._board)
        self._begun[number] = life
        return life

    def _let_end(self, number: int, life: Life) -> None:
        # The worker has the socket too; whichever gives it up last closes it.
        life.tell("end")
        self._listeners[number].close()

    def _keep(self, number: int, life: Life) -> None:
        """One life of a worker after the other, with pauses where they end before they begin."""
        while True:
            ended = life.wait()
            with self._changing:
                self._members.pop(number, None)
            if self._ending.is_set() and not self._is_missed(number):
                return
            self._say(f"worker {number + 1} {ended}; it is started again")
            replaced = self._replaced(number)
            if replaced is None:
                return
            life = replaced

    def _is_missed(self, number: int) -> bool:
        """Whether somebody waits for a worker that has ended."""
        listener = self._listeners[number]
        return listener.fileno() >= 0 and has_pending_connection(listener)

    def _replaced(self, number: int) -> Life | None:
        """The next life of a worker, once it answers; None where the fleet ends before that."""
        pause = 0.0
        while True:
            life = self._begin(number)
            try:
                self._join(number, life)
            except (ArtifactError, LostError) as error:
                life.kill()
                life.wait()
                self._members.pop(number, None)
                self._say(f"worker {number + 1} cannot be started: {error}")
                pause = min(2 * pause + 1, LONGEST_PAUSE)
                if self._ending.wait(pause):
                    return None
            else:
                return life

    def _join(self, number: int, life: Life) -> None:
        """Let a new worker load what the others have, and answer."""
        have: list[Path] = []
        while True:
            with self._changing:
                missing = [folder for folder in self._loaded if folder not in have]
                if not missing:
                    _all([life], SWITCH_SECONDS, "answer", folder=str(self._current))
                    self._members[number] = life
                    break
            for folder in missing:
                _all([life], LOAD_SECONDS, "load", folder=str(folder))
            have += missing
        _all([life], LOAD_SECONDS, "serve", **self._settings)
        with self._changing:
            if self._ending.is_set():
                self._let_end(number, life)


def _all(lives: Iterable[Life], within_s: float, order: str, **values: Any) -> None:
    """Tell all, and wait until all have done it; raises the first failure."""
    told = [(life, life.tell(order, **values)) for life in lives]
    until = time.monotonic() + within_s
    failures: list[Exception] = []
    for life, future in told:
        try:
            future.result(max(0.0, until - time.monotonic()))
        except (ArtifactError, LostError) as error:
            failures.append(error)
        except TimeoutError:
            life.kill()
            failures.append(LostError(f"worker {life.number + 1} did not answer in time"))
    if failures:
        raise failures[0]
