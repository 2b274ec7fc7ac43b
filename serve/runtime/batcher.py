"""Running together what waits together: many inputs at once cost a network half of each alone.

Nobody waits for company: what has come while the event loop was busy is run, a lone input at once.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from serve.errors import DeadlineError
from serve.formats.scaling import Floats

if TYPE_CHECKING:  # The engine loads ONNX Runtime, which a fake predictor does without.
    from serve.runtime.onnx_backend import Predictor

MOST = 32
"""Inputs at once: more are no quicker for each, and the event loop waits for them."""
TURN_SECONDS = 0.005
"""How long runs may follow one another before the event loop reads on."""
QUICK_SECONDS = 0.002
"""A network that takes longer for one input is slower than the way to a thread of its own."""

Outputs = Floats | Exception
"""The outputs of one request, or why there are none."""


@dataclass(slots=True)
class _Waiting:
    inputs: Floats
    until: float
    done: Callable[[Outputs], None]


class Together:
    """What waits for one network, on the event loop's thread."""

    def __init__(self, predictor: "Predictor") -> None:
        self._predictor = predictor
        self.quick, self.most = _tried(predictor)
        """Whether the network may run on the event loop, and how many inputs at once."""
        self._waiting: deque[_Waiting] = deque()

    def ask(self, inputs: Floats, until: float, done: Callable[[Outputs], None]) -> None:
        """Call `done` with the outputs, once those before have theirs; not after `until`."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._run)
        self._waiting.append(_Waiting(inputs, until, done))

    def _run(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        until = now + TURN_SECONDS
        while self._waiting:
            self._run_some(now)
            now = loop.time()
            if now > until and self._waiting:  # What comes meanwhile is to be read, too.
                loop.call_soon(self._run)
                break

    def _run_some(self, now: float) -> None:
        taken = self._taken()
        for waiting in taken:
            if now > waiting.until:
                waiting.done(DeadlineError("the request waited too long for its turn"))
        due = [waiting for waiting in taken if now <= waiting.until]
        for waiting, outputs in zip(due, self._outputs([one.inputs for one in due]), strict=True):
            waiting.done(outputs)

    def _taken(self) -> list[_Waiting]:
        """The first that waits, and those after it for whom there is room."""
        taken = [self._waiting.popleft()]
        room = self.most - len(taken[0].inputs)
        while self._waiting and (room := room - len(self._waiting[0].inputs)) >= 0:
            taken.append(self._waiting.popleft())
        return taken

    def _outputs(self, inputs: Sequence[Floats]) -> Iterator[Outputs]:
        if len(inputs) > 1:
            try:
                rows = self.run(np.concatenate(inputs))
            except Exception:  # Whose fault it is shows when each is asked alone.
                yield from map(self._alone, inputs)
                return
            start = 0
            for one in inputs:
                yield rows[start : start + len(one)]
                start += len(one)
        elif inputs:
            yield self._alone(inputs[0])

    def _alone(self, inputs: Floats) -> Outputs:
        try:
            return self.run(inputs)
        except Exception as error:
            return error

    def run(self, inputs: Floats) -> Floats:
        """The network's outputs, which are numbers; a class that is masked is minus infinity."""
        outputs = self._predictor.predict(inputs)
        if np.isnan(outputs).any():
            raise ArithmeticError("the model gave NaN for inputs that are finite")
        return outputs


def _tried(predictor: "Predictor") -> tuple[bool, int]:
    """Whether the network is quick, and of how many inputs each has the bits that it has alone.

    Which sums a runtime makes in which order depends on sizes and not on values, so that inputs
    made up tell it of all. A network that answers them otherwise, or not at all, gets one request
    at a time.
    """
    spec = predictor.manifest.inputs[0]
    if -1 in spec.shape[1:]:
        return True, 1
    low, high = spec.range or (-1.0, 1.0)
    size = (MOST, *spec.shape[1:])
    inputs = np.random.default_rng(0).uniform(low, high, size).astype(np.float32)
    try:
        predictor.predict(inputs[:1])
        began = time.thread_time()  # Whatever else the machine does meanwhile.
        alone = [predictor.predict(inputs[:1])]
        if time.thread_time() - began > QUICK_SECONDS:
            return False, 1
        alone += [predictor.predict(inputs[at : at + 1]) for at in range(1, MOST)]
        return True, _alike(predictor, inputs, np.concatenate(alone))
    except Exception:  # What it makes of real inputs, those who send them are told.
        return True, 1


def _alike(predictor: "Predictor", inputs: Floats, alone: Floats) -> int:
    for size in range(2, MOST + 1):
        if predictor.predict(inputs[:size]).tobytes() != alone[:size].tobytes():
            return size - 1
    return MOST
