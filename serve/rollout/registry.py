"""Which model answers now: one at a time, with another put in its place at once."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from serve.errors import NotReadyError
from serve.models.manifest import Manifest
from serve.runtime.backend import Service
from serve.runtime.script_backend import ModelProcess

if TYPE_CHECKING:
    from serve.runtime.onnx_backend import Predictor


@dataclass(frozen=True)
class Model:
    """A model that was verified and is warm, and what answers for it."""

    manifest: Manifest
    asked: Service | ModelProcess
    """A network that runs in this process, or handlers in a process of their own."""

    @classmethod
    def of(cls, model: "Predictor | ModelProcess") -> "Model":
        """The model of a predictor, or of a process of handlers."""
        return cls(model.manifest, model if isinstance(model, ModelProcess) else Service(model))

    @property
    def version(self) -> str:
        """What every reply of this model names."""
        return self.manifest.version

    @property
    def drawable(self) -> bool:
        """Whether a drawn digit can be given to the model, and its answer be named."""
        return isinstance(self.asked, Service) and self.asked.drawable

    def check(self) -> None:
        """Raise `NotReadyError`, which says why, unless the model can answer."""
        if isinstance(self.asked, ModelProcess):
            self.asked.check()


class Registry:
    """The model that answers now. A request reads it once and keeps it to its end."""

    def __init__(self, model: Model) -> None:
        self.current = model
        self._ending = False

    def check(self) -> None:
        """Raise `NotReadyError`, which says why, unless the server takes requests for long."""
        if self._ending:
            raise NotReadyError("the server is ending")
        self.current.check()

    def end(self) -> None:
        """Say from now on that the server is not ready; what is asked is still answered."""
        self._ending = True

    def put(self, model: Model) -> Model:
        """Let this model answer every request from now on; gives the one that did so far.

        What was in its hands it still answers: a process of handlers is to be closed by `retire`.
        Called on the event loop's thread, so that no request is between reading and asking.
        """
        replaced, self.current = self.current, model
        return replaced
