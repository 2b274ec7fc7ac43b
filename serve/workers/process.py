"""A worker's process, seen from the supervisor: start it, send it commands, wait for its end."""

import contextlib
import itertools
import socket
import threading
from concurrent.futures import Future
from typing import IO, Any

from serve.child_process import ChildProcess
from serve.ipc import Message
from serve.models.manifest import ArtifactError


class WorkerLostError(Exception):
    """A worker that has ended, or hangs."""


class WorkerProcess(ChildProcess):
    """A process of `serve.workers.worker`."""

    def __init__(
        self, number: int, workers: int, listener: socket.socket, counters: IO[bytes]
    ) -> None:
        """Start worker `number` of `workers`, which accepts on a listener and shares counters."""
        descriptors = (listener.fileno(), counters.fileno())
        super().__init__("serve.workers.worker", number, workers, descriptors=descriptors)
        self.number = number
        self._sending = threading.Lock()
        self._command_ids = itertools.count()
        self._pending: dict[int, Future[None]] = {}
        self._exit_reason: str | None = None
        self._reader = threading.Thread(target=self._read_replies, daemon=True)
        self._reader.start()

    def send(self, command: str, **values: Any) -> "Future[None]":
        """Send a command.

        Returns:
            A future that is done with the command, or has an ArtifactError or WorkerLostError.
        """
        future: Future[None] = Future()
        with self._sending:
            if self._exit_reason is not None:
                future.set_exception(self._lost_error())
                return future
            command_id = next(self._command_ids)
            self._pending[command_id] = future
            with contextlib.suppress(OSError):  # The process has ended; the reader will see it.
                self.channel.send(Message({"id": command_id, "command": command, **values}))
        return future

    def wait(self) -> str:
        """Wait until the process has ended, and return how."""
        self._reader.join()
        assert self._exit_reason is not None  # the reader has set it
        return self._exit_reason

    def _lost_error(self) -> WorkerLostError:
        return WorkerLostError(f"worker {self.number + 1} {self._exit_reason}")

    def _read_replies(self) -> None:
        """Complete the futures of commands until the process ends."""
        while True:
            try:
                values = self.channel.receive().values
            except (EOFError, OSError):
                break
            future = self._pending.pop(values["id"])
            if values["failure"] is None:
                future.set_result(None)
            else:
                future.set_exception(ArtifactError(values["failure"]))
        reason = super().wait()
        with self._sending:
            self._exit_reason = reason
            unfinished = list(self._pending.values())
        for future in unfinished:
            future.set_exception(self._lost_error())
        self.channel.close()
