"""The `Backend` protocol: a loaded model that runs requests, whatever runs the model."""

from collections.abc import Awaitable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from serve.models.manifest import Manifest


class Backend(Protocol):
    """A verified, loaded model. `OnnxBackend` and `ScriptBackend` implement it."""

    @property
    def manifest(self) -> Manifest:
        """The content of the model's `model.json`."""

    def infer(self, inputs: Any, wait_s: float) -> Awaitable[Any]:
        """Run the model on the inputs of one request.

        Args:
            inputs: A float32 array of shape `(N, …)` for an ONNX model; a `serve.ipc.Message`
                with the body and its headers for a script's handlers.
            wait_s: Seconds that the request may wait for its turn.

        Returns:
            The outputs, as an array or a message likewise.

        Raises:
            DeadlineError: The request's turn did not come in time.
        """

    def check(self) -> None:
        """Raise `NotReadyError` with the reason unless the model can answer."""

    def keep_open(self) -> AbstractContextManager[None]:
        """Keep `close(drain=True)` waiting while the block runs: for one request."""

    def close(self, *, drain: bool = False) -> None:
        """Free what the model holds: at once, or with `drain` when its requests have ended."""
