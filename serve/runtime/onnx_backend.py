"""An ONNX model as a backend: it runs in this process, small requests in batches."""

from collections.abc import Awaitable
from contextlib import AbstractContextManager, nullcontext

import numpy as np

from serve.formats.arrays import Floats
from serve.models.manifest import Manifest
from serve.runtime.batcher import Batcher, NetworkCost
from serve.runtime.onnx_predictor import Predictor

_NOTHING = nullcontext()


class OnnxBackend:
    """A predictor's model, ready for requests."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._batcher = Batcher(self._predict, NetworkCost.measure(predictor))

    @property
    def manifest(self) -> Manifest:
        """The content of the model's `model.json`."""
        return self._predictor.manifest

    def infer(self, inputs: Floats, wait_s: float) -> Awaitable[Floats]:
        """Run the network on inputs of shape `(N, …)`; returns its first output.

        Outputs may be infinite, as those of masked classes are. Raises ArithmeticError for NaN, and
        DeadlineError if the request's turn does not come within `wait_s` seconds.
        """
        return self._batcher.infer(inputs, wait_s)

    def check(self) -> None:
        """Do nothing: a network that was loaded can answer."""

    def keep_open(self) -> AbstractContextManager[None]:
        """Do nothing: a request's reference keeps the network in memory."""
        return _NOTHING

    def close(self, *, drain: bool = False) -> None:
        """Do nothing: the network is freed with its last reference."""

    def _predict(self, inputs: Floats) -> Floats:
        outputs = self._predictor.predict(inputs)
        if np.isnan(outputs).any():
            raise ArithmeticError("the model's outputs are NaN for finite inputs")
        return outputs
