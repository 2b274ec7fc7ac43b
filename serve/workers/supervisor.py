"""Supervisor of workers that serve on one address, each with a listening socket of its own.

The supervisor keeps the sockets open, so that connections to a worker that dies wait for the one
that replaces it. A model is loaded by all workers or by none.
"""

import contextlib
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from serve.child_process import ChildSupervisor
from serve.models.manifest import ArtifactError
from serve.server.sockets import has_pending_connection
from serve.workers.process import WorkerLostError, WorkerProcess

LOAD_SECONDS = 250.0
"""How long a model may take to load: as long as its handlers may, and a little more."""
SWITCH_SECONDS = 10.0
STOP_SECONDS = 25.0
"""How long workers may take to end: as long as they drain, and a little more."""


class Supervisor:
    """Start workers, one for each socket, pass models to them, and replace those that die.

    A context manager; leaving it kills the workers that still run.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        settings: Mapping[str, Any],
        say: Callable[[str], None],
    ) -> None:
        """Prepare a worker for each socket; `settings` are arguments of their command `serve`."""
        self._listeners = list(listeners)
        self._settings = settings
        self._say = say
        self._counters = tempfile.TemporaryFile(prefix="tuneport-")  # noqa: SIM115  # for __exit__
        self._lock = threading.Lock()
        self._ready: dict[int, WorkerProcess] = {}
        """Workers that have every loaded model."""
        self._started: dict[int, WorkerProcess] = {}
        """All workers, those that still load included."""
        self._models: list[Path] = []
        self._current: Path | None = None
        self._is_stopping = False
        self._supervisors = [self._create_supervisor(number) for number in range(len(listeners))]

    def __enter__(self) -> Self:
        for number in range(len(self._listeners)):
            self._ready[number] = self._start(number)
        return self

    def __exit__(self, *error: object) -> None:
        self._is_stopping = True
        for listener in self._listeners:
            listener.close()
        for supervisor in self._supervisors:
            supervisor.stop()
        for worker in list(self._started.values()):
            worker.kill()
            worker.wait()
        for supervisor in self._supervisors:
            supervisor.join()
        self._counters.close()

    def load(self, folder: Path) -> None:
        """Load a model in every worker; raises ArtifactError if one cannot, and drops it again."""
        with self._lock:
            self._models.append(folder)  # Workers that start from now on load it too.
            workers = list(self._ready.values())
        try:
            _send_all(workers, LOAD_SECONDS, "load", folder=str(folder))
        except WorkerLostError as error:
            self.drop(folder)
            raise ArtifactError(f"{error} while it loaded the model") from error
        except ArtifactError:
            self.drop(folder)
            raise

    def answer(self, folder: Path) -> None:
        """Switch every worker to a loaded model; one that does not switch is replaced."""
        with self._lock:
            self._current = folder
            pending = [
                (worker, worker.send("answer", folder=str(folder)))
                for worker in self._ready.values()
            ]
            for worker, future in pending:
                # A worker that has ended is replaced, and one that is ending answers no more.
                with contextlib.suppress(ArtifactError, WorkerLostError):
                    try:
                        future.result(SWITCH_SECONDS)
                    except TimeoutError:
                        worker.kill()

    def drop(self, folder: Path) -> None:
        """Unload a model in every worker."""
        with self._lock:
            self._models.remove(folder)
            for worker in self._ready.values():
                worker.send("drop", folder=str(folder))

    def serve(self) -> None:
        """Let every worker serve, and replace those that die from now on."""
        _send_all(self._ready.values(), LOAD_SECONDS, "serve", **self._settings)
        for number, worker in self._ready.items():
            self._supervisors[number].watch(worker)

    def stop(self) -> None:
        """Let every worker drain and end."""
        with self._lock:
            self._is_stopping = True
            for number, listener in enumerate(self._listeners):
                if number in self._ready:
                    self._stop_worker(number, self._ready[number])
                elif not has_pending_connection(listener):  # else a worker answers it, and ends
                    self._supervisors[number].stop()
        deadline = time.monotonic() + STOP_SECONDS
        for supervisor in self._supervisors:
            supervisor.join(max(0.0, deadline - time.monotonic()))

    def _start(self, number: int) -> WorkerProcess:
        listener = self._listeners[number]
        worker = WorkerProcess(number, len(self._listeners), listener, self._counters)
        self._started[number] = worker
        return worker

    def _stop_worker(self, number: int, worker: WorkerProcess) -> None:
        self._supervisors[number].stop()
        # The worker has the socket too; the last of both to close it ends it.
        worker.send("stop")
        self._listeners[number].close()

    def _create_supervisor(self, number: int) -> ChildSupervisor:
        def start() -> WorkerProcess:
            worker = self._start(number)
            try:
                self._prepare(number, worker)
            except (ArtifactError, WorkerLostError):
                worker.kill()
                worker.wait()
                self._ready.pop(number, None)
                raise
            return worker

        def on_exit(reason: str) -> None:
            with self._lock:
                self._ready.pop(number, None)
            if not self._is_stopping:
                self._say(f"worker {number + 1} {reason}; it is restarted")

        def on_failure(error: Exception) -> None:
            self._say(f"worker {number + 1} cannot be restarted: {error}")

        errors = (ArtifactError, WorkerLostError, OSError)
        return ChildSupervisor(start, on_exit, on_failure, errors=errors)

    def _prepare(self, number: int, worker: WorkerProcess) -> None:
        """Let a new worker load the models of the others, and serve."""
        loaded: list[Path] = []
        while True:
            with self._lock:
                missing = [folder for folder in self._models if folder not in loaded]
                if not missing:
                    _send_all([worker], SWITCH_SECONDS, "answer", folder=str(self._current))
                    self._ready[number] = worker
                    break
            for folder in missing:
                _send_all([worker], LOAD_SECONDS, "load", folder=str(folder))
            loaded += missing
        _send_all([worker], LOAD_SECONDS, "serve", **self._settings)
        with self._lock:
            if self._is_stopping:
                self._stop_worker(number, worker)


def _send_all(
    workers: Iterable[WorkerProcess], timeout_s: float, command: str, **values: Any
) -> None:
    """Send a command to all workers and wait for all; raises the first failure."""
    pending = [(worker, worker.send(command, **values)) for worker in workers]
    deadline = time.monotonic() + timeout_s
    failures: list[Exception] = []
    for worker, future in pending:
        try:
            future.result(max(0.0, deadline - time.monotonic()))
        except (ArtifactError, WorkerLostError) as error:
            failures.append(error)
        except TimeoutError:
            worker.kill()
            failures.append(WorkerLostError(f"worker {worker.number + 1} did not answer in time"))
    if failures:
        raise failures[0]
