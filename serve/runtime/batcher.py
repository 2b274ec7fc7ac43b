"""Batching on the event loop: many inputs at once cost a network half of each alone.

No request waits for others: requests that came while the event loop was busy run in one batch, a
single one runs at once. What would hold the event loop for too long runs in a thread instead.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, Self

import numpy as np

from serve.errors import DeadlineError
from serve.formats.arrays import Floats
from serve.runtime.onnx_predictor import Predictor
from serve.runtime.worker_threads import WorkerThreads

MAX_BATCH_SIZE = 32
"""Larger batches are no faster per input, and hold the event loop for longer."""
LOOP_SECONDS = 0.002
"""Longest run of the network on the event loop; a thread costs a quick network more than that."""
TURN_SECONDS = 0.005
"""How long batches may follow one another before the event loop runs other callbacks."""
THREADS = 2


class NetworkCost(NamedTuple):
    """Measurements of a network, by which its requests are batched."""

    batch_size: int
    """Largest batch in which each input gets the bits that it gets alone."""
    seconds: float
    """Time of the processor for one input; infinite where it cannot be known."""

    @classmethod
    def measure(cls, predictor: Predictor) -> Self:
        """Run random inputs.

        The order in which a runtime adds up depends on sizes and not on values, so random inputs
        are as good as real ones. A network that gives other bits, fails on them or has an input of
        free size gets no batches, and one that is slow needs none.
        """
        spec = predictor.manifest.inputs[0]
        if -1 in spec.shape[1:]:
            return cls(1, math.inf)
        low, high = spec.range or (-1.0, 1.0)
        shape = (MAX_BATCH_SIZE, *spec.shape[1:])
        inputs = np.random.default_rng(0).uniform(low, high, shape).astype(np.float32)
        try:
            predictor.predict(inputs[:1])
            start = time.thread_time()  # Other load on the machine does not count.
            first = predictor.predict(inputs[:1])
            if (seconds := time.thread_time() - start) > LOOP_SECONDS:
                return cls(1, seconds)
            others = [predictor.predict(inputs[i : i + 1]) for i in range(1, MAX_BATCH_SIZE)]
            seconds = (time.thread_time() - start) / MAX_BATCH_SIZE
            singles = np.concatenate([first, *others])
            return cls(_find_exact_size(predictor, inputs, singles), seconds)
        except Exception:  # Clients get the error for their own inputs.
            return cls(1, math.inf)


class _Request(NamedTuple):
    inputs: Floats
    deadline: float
    outputs: asyncio.Future[Floats]


class Batcher:
    """Runs the requests to one network, for the event loop's thread alone."""

    def __init__(self, infer: Callable[[Floats], Floats], cost: NetworkCost) -> None:
        """Set up a batcher.

        Args:
            infer: Runs the network on inputs of shape `(N, …)`.
            cost: Measurements of the network.
        """
        self._infer = infer
        self._loop_rows = int(LOOP_SECONDS / cost.seconds)
        self.batch_size = max(1, min(cost.batch_size, self._loop_rows))
        """Largest number of inputs that run at once, unless one request has more."""
        self._threads = WorkerThreads(THREADS)
        self._waiting: list[_Request] = []

    def infer(self, inputs: Floats, wait_s: float) -> Awaitable[Floats]:
        """Run the network on the inputs of one request, shape `(N, …)`.

        Raises DeadlineError if its turn does not come within `wait_s` seconds.
        """
        if len(inputs) > self._loop_rows:
            return self._threads.run(partial(self._infer, inputs), wait_s)
        loop = asyncio.get_running_loop()
        outputs: asyncio.Future[Floats] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._flush)
        self._waiting.append(_Request(inputs, loop.time() + wait_s, outputs))
        return outputs

    def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        waiting, self._waiting = self._waiting, []
        now = loop.time()
        turn_end = now + TURN_SECONDS
        position = 0
        while position < len(waiting):
            if now > turn_end:  # Let the event loop read new requests.
                self._waiting = waiting[position:]
                loop.call_soon(self._flush)
                return
            batch = self._take_batch(waiting, position)
            position += len(batch)
            self._run_batch(batch, now)
            now = loop.time()

    def _take_batch(self, waiting: Sequence[_Request], position: int) -> Sequence[_Request]:
        """Take the request at a position, and those after it that fit into its batch."""
        end, rows = position + 1, len(waiting[position].inputs)
        while end < len(waiting) and (rows := rows + len(waiting[end].inputs)) <= self.batch_size:
            end += 1
        return waiting[position:end]

    def _run_batch(self, batch: Sequence[_Request], now: float) -> None:
        due = []
        for request in batch:
            if request.outputs.cancelled():
                continue
            if now > request.deadline:
                error = DeadlineError("the request waited too long for its turn")
                request.outputs.set_exception(error)
            else:
                due.append(request)
        for request, outputs in zip(due, self._infer_all(due), strict=True):
            if isinstance(outputs, Exception):
                request.outputs.set_exception(outputs)
            else:
                request.outputs.set_result(outputs)

    def _infer_all(self, batch: Sequence[_Request]) -> Iterator[Floats | Exception]:
        if len(batch) > 1:
            try:
                rows = self._infer(np.concatenate([request.inputs for request in batch]))
            except Exception:  # Run alone, the request that causes the error fails by itself.
                yield from (self._infer_one(request.inputs) for request in batch)
                return
            start = 0
            for request in batch:
                yield rows[start : start + len(request.inputs)]
                start += len(request.inputs)
        elif batch:
            yield self._infer_one(batch[0].inputs)

    def _infer_one(self, inputs: Floats) -> Floats | Exception:
        try:
            return self._infer(inputs)
        except Exception as error:
            return error


def _find_exact_size(predictor: Predictor, inputs: Floats, singles: Floats) -> int:
    for size in range(2, MAX_BATCH_SIZE + 1):
        if predictor.predict(inputs[:size]).tobytes() != singles[:size].tobytes():
            return size - 1
    return MAX_BATCH_SIZE
