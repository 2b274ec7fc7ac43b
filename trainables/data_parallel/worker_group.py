"""Rank 0's view of a trial's workers: a call runs on all of them, or raises why it did not."""

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from torch import distributed

from trainables.contract import ProgramKilled, TrainableError, is_ray_worker
from trainables.data_parallel.rendezvous import (
    create_store,
    join_process_group,
    rendezvous,
    this_node_address,
)
from trainables.data_parallel.worker import Failure
from trainables.errors.trial_log import print_trace

SETTLE_S = 5.0
"""Seconds after a failure in which a worker may turn out to be lost, which is then the cause."""
LAST_OUTPUT_S = 10.0
"""Seconds that a node may take to give the last output of a lost worker; it takes one or two."""
LEAVE_S = 15.0
"""Seconds after another worker's failure that rank 0 may still wait for that worker."""

T = TypeVar("T")


class WorkerLost(Exception):
    """A worker's process is gone."""


class WorkerHandle(Protocol):
    """Rank 0's handle on another worker."""

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the `Worker` and return its answer; raises WorkerLost."""
        ...

    def end(self) -> None:
        """End the worker, whatever it does."""
        ...


StartWorkers = Callable[[int], Sequence[WorkerHandle]]
"""Starts that many workers."""

LOST = Failure(ProgramKilled, "was lost")


@dataclass(frozen=True)
class _RankFailure:
    """The failure of one worker, and when it came."""

    rank: int
    failure: Failure
    at: float

    @property
    def precedence(self) -> tuple[bool, bool, float]:
        """Sort key for the cause of a trial's failure: lost workers first, then by time.

        Exceptions that only say that another worker is gone come last.
        """
        return self.failure is not LOST, self.failure.kind is ProgramKilled, self.at


class WorkerGroup:
    """The workers of a trial; once one has failed, the group is to be ended."""

    def __init__(self, handles: Sequence[WorkerHandle]) -> None:
        """Take the handles of all workers but rank 0, for this group alone to call."""
        self.answers: list[Any] = []
        """The last answer of each of them."""
        self._handles = handles
        self._threads = ThreadPoolExecutor(len(handles), "worker")
        self._changed = threading.Condition()
        self._failures: list[_RankFailure] = []
        self._unanswered = 0
        self._is_busy = False
        self._leaving: threading.Timer | None = None

    def connect(self) -> None:
        """Make one process group of all; its store listens at the rendezvous and nowhere else."""
        self.run(lambda: None, "address")
        nodes = rendezvous([this_node_address(), *self.answers])
        listener = socket.create_server((nodes[0].address, 0))
        port, world_size = listener.getsockname()[1], len(nodes)
        store = create_store(nodes[0].address, port, world_size, listener.detach())
        arguments = [(node, port, rank, world_size) for rank, node in enumerate(nodes)]
        self.run_each(
            lambda: join_process_group(store, nodes[0], 0, world_size), "join", arguments[1:]
        )

    def run(self, on_rank_0: Callable[[], T], method: str, *arguments: Any) -> T:
        """Call a method on all other workers, with the same arguments, beside rank 0's own call.

        Returns what `on_rank_0` returns. Raises what it raised, the exception of another worker
        that failed before it did, or ProgramKilled where one was lost.
        """
        return self.run_each(on_rank_0, method, [arguments] * len(self._handles))

    def run_each(
        self, on_rank_0: Callable[[], T], method: str, arguments: Sequence[Sequence[Any]]
    ) -> T:
        """Do the same as `run`, with arguments for each of the other workers."""
        self.answers = [None] * len(self._handles)
        self._unanswered = len(self._handles)
        for index, handle in enumerate(self._handles):
            self._threads.submit(self._call, index, handle, method, arguments[index])
        try:
            result = self._run_rank_0(on_rank_0)
        except Exception as error:
            self._note(_RankFailure(0, Failure.of(error), time.monotonic()))
            self._wait(SETTLE_S)
            if self._is_any_lost:
                self._wait(LAST_OUTPUT_S)
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
        """End all workers but rank 0, and the process group."""
        for handle in self._handles:
            handle.end()
        if distributed.is_initialized():
            distributed.destroy_process_group()
        self._threads.shutdown(wait=False)

    def _run_rank_0(self, on_rank_0: Callable[[], T]) -> T:
        """Run rank 0's call, which must not wait for ever for a worker that is gone."""
        self._is_busy = True
        try:
            return on_rank_0()
        finally:
            with self._changed:
                self._is_busy = False
                if self._leaving is not None:
                    self._leaving.cancel()

    def _call(
        self, index: int, handle: WorkerHandle, method: str, arguments: Sequence[Any]
    ) -> None:
        """Call a worker; note its answer, or its failure."""
        try:
            answer = handle.call(method, *arguments)
        except WorkerLost:
            answer = LOST
        except Exception as error:  # the call could not be made
            print_trace()
            answer = Failure.of(error)
        if isinstance(answer, Failure):
            self._note(_RankFailure(index + 1, answer, time.monotonic()))
        try:
            if isinstance(answer, Failure):
                handle.end()  # so that no other worker waits for it
        finally:
            with self._changed:
                self.answers[index] = answer
                self._unanswered -= 1
                self._changed.notify_all()

    def _note(self, failure: _RankFailure) -> None:
        with self._changed:
            self._failures.append(failure)
            self._changed.notify_all()
            if self._is_busy and self._leaving is None and is_ray_worker():
                self._leaving = threading.Timer(LEAVE_S, _leave)
                self._leaving.daemon = True
                self._leaving.start()

    def _wait(self, seconds: float | None = None) -> None:
        """Wait until all have answered; with a limit, no longer than until one was lost."""
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._unanswered == 0
                    or (seconds is not None and any(answer is LOST for answer in self.answers))
                ),
                seconds,
            )

    @property
    def _is_any_lost(self) -> bool:
        """Whether a worker is lost; its answer comes only once its last output is known."""
        return any(noted.failure is LOST for noted in self._failures)

    def _cause(self) -> TrainableError | None:
        """The cause of the trial's failure; None where there is none, or rank 0 is it."""
        first = min(self._failures, key=lambda noted: noted.precedence, default=None)
        if first is None or (first.rank == 0 and first.failure.kind is not ProgramKilled):
            return None
        name = f"worker {first.rank + 1} of {len(self._handles) + 1}"
        colon = "" if first.failure is LOST else ":"
        return first.failure.kind(f"{name}{colon} {first.failure.message}")


def _leave() -> None:
    """End this process, which waits for a worker that will never answer: its node is silent."""
    os.write(2, b"another worker failed, for which this one would wait for ever\n")
    os._exit(1)
