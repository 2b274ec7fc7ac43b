"""The models loaded in this process, by folder, and which of them answers."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Self

from serve.models.artifact import read_manifest
from serve.models.manifest import ArtifactError
from serve.rollout.registry import Registry
from serve.runtime.backend import Backend
from serve.runtime.onnx_backend import OnnxBackend
from serve.runtime.onnx_predictor import load
from serve.runtime.script_backend import ScriptBackend

SWITCH_SECONDS = 10.0
"""How long the event loop may take to run a switch."""


class LoadedModels:
    """Loads, switches to and drops models; a context manager, which closes them.

    Load and drop from any thread. Once the server runs, a switch happens on its event loop, so
    that no request is between choosing its model and using it.
    """

    def __init__(self) -> None:
        self._loaded: dict[Path, Backend] = {}
        self._open: set[Backend] = set()
        """The loaded backends, and those that are being loaded or drained."""
        self._registry: Registry | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for backend in list(self._open):
            backend.close()

    @property
    def registry(self) -> Registry:
        """The registry of the current model; `answer` makes it."""
        assert self._registry is not None  # The server starts after the first `answer`.
        return self._registry

    def set_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Switch models on this event loop from now on."""
        self._loop = loop

    def load(self, folder: Path) -> None:
        """Verify and load a model and run its golden inputs; no request reaches it yet.

        Raises:
            ArtifactError: The folder is not a sound model, or it cannot be loaded.
        """
        if read_manifest(folder).has_handlers:
            backend = ScriptBackend(folder)
            self._open.add(backend)
            try:
                self._loaded[folder] = backend.__enter__()
            except BaseException:
                self._open.discard(backend)
                raise
        else:
            self._loaded[folder] = OnnxBackend(load(folder))

    def answer(self, folder: Path) -> None:
        """Let a loaded model answer every request from now on."""
        backend = self._loaded[folder]
        if self._registry is None:
            self._registry = Registry(backend)
        else:
            self._run_on_loop(lambda: self.registry.put(backend))

    def drop(self, folder: Path) -> None:
        """Forget a model, if it is loaded; a thread closes it when its requests have ended."""
        backend = self._loaded.pop(folder, None)
        if backend is not None:
            threading.Thread(target=self._drain, args=(backend,), daemon=True).start()

    def _drain(self, backend: Backend) -> None:
        backend.close(drain=True)
        self._open.discard(backend)

    def _run_on_loop(self, switch: Callable[[], object]) -> None:
        if self._loop is None:
            switch()
            return
        done: Future[None] = Future()

        def call() -> None:
            switch()
            done.set_result(None)

        try:
            self._loop.call_soon_threadsafe(call)
            done.result(SWITCH_SECONDS)
        except (RuntimeError, TimeoutError) as error:
            raise ArtifactError("the server is ending; nothing is changed any more") from error
