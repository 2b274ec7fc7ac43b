"""An ONNX model as a backend: it runs in this process, small requests in batches."""

from contextlib import AbstractContextManager, nullcontext

import numpy as np

from serve.formats.arrays import Floats
from serve.models.manifest import Manifest
from serve.runtime.batcher import Batcher, find_batch_size
from serve.runtime.onnx_predictor import Predictor


class OnnxBackend:
    """A predictor's model, ready for requests."""

    max_concurrency = 2
    """Each large request may take a hundred megabytes while it is decoded."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        size = find_batch_size(predictor)
        self._batcher = None if size is None else Batcher(self.infer, size)

    @property
    def manifest(self) -> Manifest:
        """The content of the model's `model.json`."""
        return self._predictor.manifest

    @property
    def batcher(self) -> Batcher | None:
        """Runs small requests on the event loop; None for a slow network."""
        return self._batcher

    def infer(self, inputs: Floats) -> Floats:
        """Run the network on inputs of shape `(N, …)`; returns its first output.

        Outputs may be infinite, as those of masked classes are. Raises ArithmeticError for NaN.
        """
        outputs = self._predictor.predict(inputs)
        if np.isnan(outputs).any():
            raise ArithmeticError("the model's outputs are NaN for finite inputs")
        return outputs

    def check(self) -> None:
        """Do nothing: a network that was loaded can answer."""

    def keep_open(self) -> AbstractContextManager[None]:
        """Do nothing: a request's reference keeps the network in memory."""
        return nullcontext()

    def close(self, *, drain: bool = False) -> None:
        """Do nothing: the network is freed with its last reference."""
