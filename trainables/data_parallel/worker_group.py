"""The workers of one trial, seen from the first: what is done is done by all, or has failed."""

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from torch import distributed

from trainables.contract import ProgramKilled, TrainableError, is_rays
from trainables.data_parallel.placement_group import here, meeting
from trainables.data_parallel.worker import Failure, join, store
from trainables.errors.trial_log import print_trace

SETTLE_S = 5.0
"""How long after a failure a worker may turn out to be lost, which is then why others failed."""
REST_S = 10.0
"""How long a node may take to give what a lost worker printed last; it takes a second or two."""
LEAVE_S = 15.0
"""How long after another's failure the first worker may still wait for it."""

T = TypeVar("T")


class Lost(Exception):
    """A worker's process is gone."""


class Peer(Protocol):
    """A further worker, as the first one reaches it."""

    def call(self, method: str, *arguments: Any) -> Any:
        """What its `Fellow` answers; raises Lost where it is gone."""
        ...

    def end(self) -> None:
        """End it, whatever it does."""
        ...


Recruit = Callable[[int], Sequence[Peer]]
"""Gives as many further workers as it is asked for."""


LOST = Failure(ProgramKilled, "was lost")


@dataclass(frozen=True)
class _Ended:
    """How a worker failed, and when."""

    rank: int
    failure: Failure
    at: float

    @property
    def order(self) -> tuple[bool, bool, float]:
        """What comes first as a reason: a loss; last, that another worker is gone."""
        return self.failure is not LOST, self.failure.kind is ProgramKilled, self.at


class Crew:
    """A trial's workers; once one has failed, all are to be ended."""

    def __init__(self, peers: Sequence[Peer]) -> None:
        """Take the further workers, which nobody else asks for anything."""
        self.answers: list[Any] = []
        """What each of them answered last."""
        self._peers = peers
        self._threads = ThreadPoolExecutor(len(peers), "worker")
        self._changed = threading.Condition()
        self._ended: list[_Ended] = []
        self._unanswered = 0
        self._is_busy = False
        self._leaving: threading.Timer | None = None

    def meet(self) -> None:
        """Make one group of all, whose store listens where they meet and nowhere else."""
        self.together(lambda: None, "place")
        places = meeting([here(), *self.answers])
        listener = socket.create_server((places[0].address, 0))
        port, size = listener.getsockname()[1], len(places)
        met = store(places[0].address, port, size, listener.detach())
        told = [(place, port, rank, size) for rank, place in enumerate(places)]
        self.together(lambda: join(met, places[0], 0, size), "join", each=told[1:])

    def together(
        self,
        mine: Callable[[], T],
        method: str,
        *arguments: Any,
        each: Sequence[Sequence[Any]] = (),
    ) -> T:
        """Do the first worker's share while the others do theirs; `each` is what each is told.

        Raises what the first one raised, what another that failed before it did, or ProgramKilled
        where one was lost.
        """
        self.answers = [None] * len(self._peers)
        self._unanswered = len(self._peers)
        for index, peer in enumerate(self._peers):
            told = each[index] if each else arguments
            self._threads.submit(self._ask, index, peer, method, told)
        try:
            result = self._done(mine)
        except Exception as error:
            self._note(_Ended(0, Failure.of(error), time.monotonic()))
            self._wait(SETTLE_S)
            if self._is_any_lost:
                self._wait(REST_S)
            cause = self._cause()
            if cause is None:
                raise
            raise cause from error
        self._wait()
        cause = self._cause()
        if cause is not None:
            raise cause
        return result

    def end(self) -> None:
        """End all workers but the first, and the group."""
        for peer in self._peers:
            peer.end()
        if distributed.is_initialized():
            distributed.destroy_process_group()
        self._threads.shutdown(wait=False)

    def _done(self, mine: Callable[[], T]) -> T:
        """The first worker's share, in which it must not wait for ever for one that is gone."""
        self._is_busy = True
        try:
            return mine()
        finally:
            with self._changed:
                self._is_busy = False
                if self._leaving is not None:
                    self._leaving.cancel()

    def _ask(self, index: int, peer: Peer, method: str, told: Sequence[Any]) -> None:
        """Ask a worker, and note how it failed where it did."""
        try:
            answer = peer.call(method, *told)
        except Lost:
            answer = LOST
        except Exception as error:  # it cannot even be asked
            print_trace()
            answer = Failure.of(error)
        if isinstance(answer, Failure):
            self._note(_Ended(index + 1, answer, time.monotonic()))
        try:
            if isinstance(answer, Failure):
                peer.end()  # so that nobody waits for it
        finally:
            with self._changed:
                self.answers[index] = answer
                self._unanswered -= 1
                self._changed.notify_all()

    def _note(self, ended: _Ended) -> None:
        with self._changed:
            self._ended.append(ended)
            self._changed.notify_all()
            if self._is_busy and self._leaving is None and is_rays():
                self._leaving = threading.Timer(LEAVE_S, _leave)
                self._leaving.daemon = True
                self._leaving.start()

    def _wait(self, seconds: float | None = None) -> None:
        """Wait until all have answered; where it is for why one failed, until one that was lost."""
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._unanswered == 0
                    or (seconds is not None and any(each is LOST for each in self.answers))
                ),
                seconds,
            )

    @property
    def _is_any_lost(self) -> bool:
        """Whether one is lost, who has answered only once its last words are known."""
        return any(each.failure is LOST for each in self._ended)

    def _cause(self) -> TrainableError | None:
        """Why the trial failed; None where none did, or the first one by itself."""
        first = min(self._ended, key=lambda each: each.order, default=None)
        if first is None or (first.rank == 0 and first.failure.kind is not ProgramKilled):
            return None
        name = f"worker {first.rank + 1} of {len(self._peers) + 1}"
        colon = "" if first.failure is LOST else ":"
        return first.failure.kind(f"{name}{colon} {first.failure.said}")


def _leave() -> None:
    """End this process, which waits for one that will never answer: its node went silent."""
    os.write(2, b"another worker failed, for which this one would wait for ever\n")
    os._exit(1)
