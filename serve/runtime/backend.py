"""The `Backend` protocol: a loaded model that runs requests, whatever runs the model."""

from contextlib import AbstractContextManager
from typing import Any, Protocol

from serve.models.manifest import Manifest
from serve.runtime.batcher import Batcher


class Backend(Protocol):
    """A verified, loaded model. `OnnxBackend` and `ScriptBackend` implement it."""

    @property
    def manifest(self) -> Manifest:
        """The content of the model's `model.json`."""

    @property
    def max_concurrency(self) -> int:
        """Number of requests that may run at once; the others wait their turn."""

    @property
    def batcher(self) -> Batcher | None:
        """Runs small requests on the event loop; None where the model would block it."""

    def infer(self, inputs: Any) -> Any:
        """Run the model on the inputs of one request, in the calling thread.

        Args:
            inputs: A float32 array of shape `(N, …)` for an ONNX model; a `serve.ipc.Message`
                with the body and its headers for a script's handlers.

        Returns:
            The outputs, as an array or a message likewise.
        """

    def check(self) -> None:
        """Raise `NotReadyError` with the reason unless the model can answer."""

    def keep_open(self) -> AbstractContextManager[None]:
        """Keep `close(drain=True)` waiting while the block runs: for one request."""

    def close(self, *, drain: bool = False) -> None:
        """Free what the model holds: at once, or with `drain` when its requests have ended."""
