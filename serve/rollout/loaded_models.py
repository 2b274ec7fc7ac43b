"""The models that this process has loaded, and which of them answers."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Self

from serve.models.artifact import read_manifest
from serve.models.manifest import HANDLERS_FORMAT, ArtifactError
from serve.rollout.registry import Model, Registry
from serve.runtime.script_backend import ModelProcess

SWITCH_SECONDS = 10.0
"""How long the event loop may take to come to a switch."""


class Models:
    """Loads, lets answer and drops models by their folders; a context manager, which ends them.

    Loading and dropping are for any thread; once the server runs, the switch from one model to
    another is made on its event loop, so that no request is between choosing its model and asking.
    """

    def __init__(self) -> None:
        self._loaded: dict[Path, Model] = {}
        self._processes: set[ModelProcess] = set()
        self._registry: Registry | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in list(self._processes):
            process.close()

    @property
    def registry(self) -> Registry:
        """The registry of the model that answers; there is one once the first does."""
        assert self._registry is not None  # nothing is served before a model answers
        return self._registry

    def attend(self, loop: asyncio.AbstractEventLoop) -> None:
        """Switch on this event loop from now on."""
        self._loop = loop

    def load(self, folder: Path) -> None:
        """Verify and load a model, run its golden inputs, warm it, and keep it beside the others.

        Raises `ArtifactError` where it is not sound.
        """
        if read_manifest(folder).format == HANDLERS_FORMAT:
            self._loaded[folder] = Model.of(self._started(folder))
        else:
            from serve.runtime.onnx_backend import load  # Handlers do without ONNX Runtime.

            self._loaded[folder] = Model.of(load(folder))

    def answer(self, folder: Path) -> None:
        """Let a loaded model answer every request from now on."""
        model = self._loaded[folder]
        if self._registry is None:
            self._registry = Registry(model)
        else:
            self._on_loop(lambda: self.registry.put(model))

    def drop(self, folder: Path) -> None:
        """Forget a model, if it is loaded, once it has answered what it has in hand."""
        model = self._loaded.pop(folder, None)
        if model is not None and isinstance(model.asked, ModelProcess):
            threading.Thread(target=self._retire, args=(model.asked,), daemon=True).start()

    def _started(self, folder: Path) -> ModelProcess:
        process = ModelProcess(folder)
        self._processes.add(process)
        try:
            return process.__enter__()
        except BaseException:
            self._processes.discard(process)
            raise

    def _retire(self, process: ModelProcess) -> None:
        process.retire()
        self._processes.discard(process)

    def _on_loop(self, switch: Callable[[], object]) -> None:
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
