"""A script's handlers as a backend: they run in a process that is restarted when it dies."""

import logging
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Self

from serve.child_process import ChildProcess, ChildSupervisor
from serve.errors import DeadlineError, HandlerError, NotReadyError
from serve.ipc import Message
from serve.models.archive import read_handlers
from serve.models.manifest import ArtifactError, Manifest
from serve.runtime.handler_process import start_process, wait_until_loaded
from serve.runtime.worker_threads import WorkerThreads

ANSWER_SECONDS = 60.0
"""How long handlers may take for a request; SageMaker has the same limit."""
CLOSE_SECONDS = 5.0
"""How long the process may take to end by itself."""
LOADING = "the model is being loaded"

log = logging.getLogger(__name__)


class ScriptBackend:
    """A model with handlers, in a process that is restarted when it dies.

    A context manager: entering waits until the model is loaded, and raises `ArtifactError` where
    that fails; leaving ends the process and all that it has started.
    """

    def __init__(self, folder: Path, *, answer_s: float = ANSWER_SECONDS) -> None:
        self._folder = folder.absolute()
        self._answer_s = answer_s
        self._manifest = read_handlers(self._folder)
        self._threads = WorkerThreads(1)  # Handlers take one request at a time.
        self._request_lock = threading.Lock()
        self._state = threading.Condition()
        self._process: ChildProcess | None = None
        self._not_ready: str | None = LOADING
        self._loading = True
        self._closing = False
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        """Working directory of the process."""
        self._requests = 0
        self._requests_changed = threading.Condition()
        self._supervisor = ChildSupervisor(
            self._start, self._on_exit, self._on_failure, errors=(ArtifactError,)
        )

    @property
    def manifest(self) -> Manifest:
        """The content of the model's `model.json`."""
        return self._manifest

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_until_loaded()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def start(self) -> None:
        """Begin to load the model, without waiting for it."""
        self._supervisor.watch()

    def wait_until_loaded(self) -> None:
        """Wait until the model is loaded, or raise `ArtifactError` where that has failed."""
        with self._state:
            self._state.wait_for(lambda: not self._loading)
        if self._not_ready is not None:
            raise ArtifactError(f"{self._folder}: {self._not_ready}")

    def check(self) -> None:
        """Raise `NotReadyError` with the reason unless the model is loaded."""
        if (reason := self._not_ready) is not None:
            raise NotReadyError(reason)

    async def infer(self, inputs: Message, wait_s: float) -> Message:
        """Send a request to the handlers from a thread, when its turn has come.

        Raises what `request` raises, and DeadlineError if its turn does not come within `wait_s`
        seconds.
        """
        return await self._threads.run(partial(self.request, inputs), wait_s)

    def request(self, inputs: Message) -> Message:
        """Send a request to the handlers and wait for their reply; one request at a time.

        Args:
            inputs: The body, with `content_type`, `accept` and `headers`.

        Returns:
            The body of the reply with `status`, `content_type` and `headers`, or a message with
            `status` and `error`.

        Raises:
            NotReadyError: No model is loaded.
            DeadlineError: The handlers do not reply in time; their process is restarted.
            HandlerError: The process ends during the request; it is restarted.
        """
        with self._request_lock:
            self.check()
            process = self._process
            assert process is not None  # The model is loaded.
            try:
                process.channel.send(inputs)
                return process.channel.receive(self._answer_s)
            except TimeoutError as error:
                self._mark_lost(process, "the model's process is restarted, as it did not answer")
                process.kill()
                raise DeadlineError(
                    f"the model did not answer within {self._answer_s:g} seconds"
                ) from error
            except (EOFError, OSError) as error:
                self._mark_lost(process, "the model's process ended; it is restarted")
                raise HandlerError(
                    500, "the model's process ended during this request; it is restarted"
                ) from error

    @contextmanager
    def keep_open(self) -> Iterator[None]:
        """Keep `close(drain=True)` waiting while the block runs: for one request."""
        with self._requests_changed:
            self._requests += 1
        try:
            yield
        finally:
            with self._requests_changed:
                self._requests -= 1
                self._requests_changed.notify_all()

    def close(self, *, drain: bool = False) -> None:
        """End the process: at once, or with `drain` when its requests have ended.

        A process that is idle gets a few seconds to end by itself.
        """
        if drain:
            with self._requests_changed:
                self._requests_changed.wait_for(lambda: not self._requests)
        self._supervisor.stop()
        with self._state:
            self._closing = True
            process = self._process
        if process is not None:
            if self._not_ready is None:
                process.channel.hang_up()
                self._supervisor.join(CLOSE_SECONDS)
            process.kill()
        self._supervisor.join()
        self._set_state("the model's process was ended")

    def _start(self) -> ChildProcess:
        """Start the process, and wait until it has loaded the model; raises ArtifactError."""
        try:
            process = self._start_process()
        except (ArtifactError, OSError) as error:
            raise ArtifactError(f"the model's process cannot be started: {error}") from error
        wait_until_loaded(process)
        self._set_state(None)
        return process

    def _start_process(self) -> ChildProcess:
        if self._process is not None and read_handlers(self._folder) != self._manifest:
            raise ArtifactError("its folder has another model now; restart the server")
        self._scratch = tempfile.TemporaryDirectory(prefix="tuneport-", ignore_cleanup_errors=True)
        with self._state:
            if self._closing:
                raise ArtifactError("the server is ending")
            self._process = start_process(self._folder, self._manifest, Path(self._scratch.name))
            return self._process

    def _on_exit(self, reason: str) -> None:
        process = self._process
        assert process is not None  # It has just ended.
        if not self._closing:
            self._mark_lost(process, f"the model's process {reason}; it is restarted")
            log.error("%s: the model's process %s; it is restarted", self._folder, reason)
        self._clean_up(process)

    def _on_failure(self, error: Exception) -> None:
        self._set_state(str(error))
        self._clean_up(self._process)

    def _clean_up(self, process: ChildProcess | None) -> None:
        if self._scratch is not None:
            self._scratch.cleanup()
        with self._request_lock:  # The request that waited for a reply has its error by now.
            if process is not None:
                process.channel.close()

    def _set_state(self, not_ready: str | None) -> None:
        """Record that the model is loaded (None), or the reason why it is not."""
        with self._state:
            self._not_ready, self._loading = not_ready, False
            self._state.notify_all()

    def _mark_lost(self, process: ChildProcess, reason: str) -> None:
        """Send no more requests to that process; its successor is being started."""
        with self._state:
            if self._process is process and self._not_ready is None:
                self._not_ready, self._loading = reason, True
