"""The model that answers now, and its replacement while requests go on."""

from serve.errors import NotReadyError
from serve.runtime.backend import Backend


class Registry:
    """The current model. A request reads `current` once and keeps it to its end."""

    def __init__(self, backend: Backend) -> None:
        self.current = backend
        self._ending = False

    @property
    def version(self) -> str:
        """Version of the current model, which its replies name."""
        return self.current.manifest.version

    def check(self) -> None:
        """Raise `NotReadyError` with the reason unless new requests can be answered."""
        if self._ending:
            raise NotReadyError("the server is ending")
        self.current.check()

    def end(self) -> None:
        """Report not ready from now on; requests are still answered."""
        self._ending = True

    def put(self, backend: Backend) -> Backend:
        """Make a model the current one; returns the previous one, which may have requests left.

        Call it on the event loop's thread, so that no request is between reading `current` and
        `keep_open`. Free the previous model by `close(drain=True)`.
        """
        previous, self.current = self.current, backend
        return previous
