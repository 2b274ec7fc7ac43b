"""Batching on the event loop: many inputs at once cost a network half of each alone.

No request waits for others: requests that came while the event loop was busy run in one batch, a
single one runs at once.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from serve.errors import DeadlineError
from serve.formats.arrays import Floats
from serve.runtime.onnx_predictor import Predictor

MAX_BATCH_SIZE = 32
"""Larger batches are no faster per input, and block the event loop for longer."""
TURN_SECONDS = 0.005
"""How long batches may follow one another before the event loop runs other callbacks."""
QUICK_SECONDS = 0.002
"""A network that takes longer for one input is slower than handing it to a thread."""

Outputs = Floats | Exception
"""The outputs for one request, or the error that it failed with."""


@dataclass(slots=True)
class _Request:
    inputs: Floats
    deadline: float
    done: Callable[[Outputs], None]


class Batcher:
    """A queue of small requests to one network, for the event loop's thread alone."""

    def __init__(self, infer: Callable[[Floats], Floats], batch_size: int) -> None:
        self._infer = infer
        self.batch_size = batch_size
        """Largest number of inputs that run at once, unless one request has more."""
        self._queue: deque[_Request] = deque()

    def submit(self, inputs: Floats, deadline: float, done: Callable[[Outputs], None]) -> None:
        """Queue a request; `done` is called with its outputs or its error.

        Args:
            inputs: The inputs, shape `(N, …)`.
            deadline: Time of the event loop's clock after which the request is not run any more.
            done: Called in a later turn of the event loop, in the order of the requests.
        """
        if not self._queue:
            asyncio.get_running_loop().call_soon(self._run)
        self._queue.append(_Request(inputs, deadline, done))

    def _run(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        turn_end = now + TURN_SECONDS
        while self._queue:
            self._run_batch(now)
            now = loop.time()
            if now > turn_end and self._queue:  # Let the event loop read new requests.
                loop.call_soon(self._run)
                break

    def _run_batch(self, now: float) -> None:
        batch = self._take_batch()
        for request in batch:
            if now > request.deadline:
                request.done(DeadlineError("the request waited too long for its turn"))
        due = [request for request in batch if now <= request.deadline]
        results = self._infer_all([request.inputs for request in due])
        for request, outputs in zip(due, results, strict=True):
            request.done(outputs)

    def _take_batch(self) -> list[_Request]:
        """Take the first request, and those after it that fit into its batch."""
        batch = [self._queue.popleft()]
        room = self.batch_size - len(batch[0].inputs)
        while self._queue and (room := room - len(self._queue[0].inputs)) >= 0:
            batch.append(self._queue.popleft())
        return batch

    def _infer_all(self, batch: Sequence[Floats]) -> Iterator[Outputs]:
        if len(batch) > 1:
            try:
                rows = self._infer(np.concatenate(batch))
            except Exception:  # Run alone, the request that causes the error fails by itself.
                yield from map(self._infer_one, batch)
                return
            start = 0
            for inputs in batch:
                yield rows[start : start + len(inputs)]
                start += len(inputs)
        elif batch:
            yield self._infer_one(batch[0])

    def _infer_one(self, inputs: Floats) -> Outputs:
        try:
            return self._infer(inputs)
        except Exception as error:
            return error


def find_batch_size(predictor: Predictor) -> int | None:
    """Find the largest batch in which each input gets the bits that it gets alone.

    The order in which a runtime adds up depends on sizes and not on values, so random inputs are
    as good as real ones. A network that gives other bits, fails on them or has an input of free
    size gets 1: no batches.

    Returns:
        The number of inputs, or None where one input takes longer than `QUICK_SECONDS` of the
        processor, so that the network must not run on the event loop.
    """
    spec = predictor.manifest.inputs[0]
    if -1 in spec.shape[1:]:
        return 1
    low, high = spec.range or (-1.0, 1.0)
    shape = (MAX_BATCH_SIZE, *spec.shape[1:])
    inputs = np.random.default_rng(0).uniform(low, high, shape).astype(np.float32)
    try:
        predictor.predict(inputs[:1])
        start = time.thread_time()  # Other load on the machine does not count.
        singles = [predictor.predict(inputs[:1])]
        if time.thread_time() - start > QUICK_SECONDS:
            return None
        singles += [predictor.predict(inputs[i : i + 1]) for i in range(1, MAX_BATCH_SIZE)]
        return _find_exact_size(predictor, inputs, np.concatenate(singles))
    except Exception:  # Clients get the error for their own inputs.
        return 1


def _find_exact_size(predictor: Predictor, inputs: Floats, singles: Floats) -> int:
    for size in range(2, MAX_BATCH_SIZE + 1):
        if predictor.predict(inputs[:size]).tobytes() != singles[:size].tobytes():
            return size - 1
    return MAX_BATCH_SIZE
