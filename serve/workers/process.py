"""A worker's process, seen from the supervisor: start it, send it commands, wait for its end."""

import contextlib
import itertools
import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import IO, Any

from serve.ipc import Channel, Message
from serve.models.manifest import ArtifactError


class WorkerLostError(Exception):
    """A worker that has ended, or hangs."""


class WorkerProcess:
    """A process of `serve.workers.worker`."""

    def __init__(
        self, number: int, workers: int, listener: socket.socket, counters: IO[bytes]
    ) -> None:
        """Start the process.

        Args:
            number: Its number, from 0.
            workers: How many workers there are.
            listener: Socket on which it accepts connections.
            counters: File of the shared counters, with a row for each worker.
        """
        self.number = number
        parent_end, child_end = socket.socketpair()
        descriptors = [child_end.fileno(), listener.fileno(), counters.fileno()]
        with child_end:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "serve.workers.worker",
                    *map(str, (*descriptors, number, workers)),
                ],
                env={**os.environ, "PYTHONPATH": _python_path()},
                stdin=subprocess.DEVNULL,
                pass_fds=descriptors,
                # Ctrl-C goes to the supervisor alone, which lets its workers drain.
                start_new_session=True,
            )
        self._channel = Channel(parent_end)
        self._lock = threading.Lock()
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
        with self._lock:
            if self._exit_reason is not None:
                future.set_exception(self._lost_error())
                return future
            command_id = next(self._command_ids)
            self._pending[command_id] = future
            with contextlib.suppress(OSError):  # The process has ended; the reader will see it.
                self._channel.send(Message({"id": command_id, "command": command, **values}))
        return future

    def kill(self) -> None:
        """Kill the process."""
        self._process.kill()

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
                values = self._channel.receive().values
            except (EOFError, OSError):
                break
            future = self._pending.pop(values["id"])
            if values["failure"] is None:
                future.set_result(None)
            else:
                future.set_exception(ArtifactError(values["failure"]))
        code = self._process.wait()
        with self._lock:
            reason = f"ended with status {code}" if code >= 0 else f"was killed by signal {-code}"
            self._exit_reason = reason
            unfinished = list(self._pending.values())
        for future in unfinished:
            future.set_exception(self._lost_error())
        self._channel.close()


def _python_path() -> str:
    path = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return os.pathsep.join(filter(None, path))
