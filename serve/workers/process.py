"""One life of a worker, from the side of the process that started it."""

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


class LostError(Exception):
    """A worker that has ended, or hangs."""


class Life:
    """A worker's process, told by messages what to do."""

    def __init__(
        self, number: int, workers: int, listener: socket.socket, board: IO[bytes]
    ) -> None:
        self.number = number
        ours, its = socket.socketpair()
        given = [its.fileno(), listener.fileno(), board.fileno()]
        with its:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "serve.workers.worker",
                    *map(str, (*given, number, workers)),
                ],
                env={**os.environ, "PYTHONPATH": _path()},
                stdin=subprocess.DEVNULL,
                pass_fds=given,
                # A Ctrl-C is for the process that started it, which ends it in its own way.
                start_new_session=True,
            )
        self._channel = Channel(ours)
        self._sending = threading.Lock()
        self._numbers = itertools.count()
        self._told: dict[int, Future[None]] = {}
        self._ended: str | None = None
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def tell(self, order: str, **values: Any) -> "Future[None]":
        """Give an order; the future has its end, an `ArtifactError` or a `LostError`."""
        future: Future[None] = Future()
        with self._sending:
            if self._ended is not None:
                future.set_exception(self._lost())
                return future
            number = next(self._numbers)
            self._told[number] = future
            with contextlib.suppress(OSError):  # It has ended; who listens to it will say so.
                self._channel.send(Message({"number": number, "order": order, **values}))
        return future

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def wait(self) -> str:
        """Wait until it has ended; gives how."""
        self._listener.join()
        assert self._ended is not None  # it was listened to until its end
        return self._ended

    def _lost(self) -> LostError:
        return LostError(f"worker {self.number + 1} {self._ended}")

    def _listen(self) -> None:
        """Hear what became of the orders, until it ends."""
        while True:
            try:
                values = self._channel.receive().values
            except (EOFError, OSError):
                break
            future = self._told.pop(values["number"])
            if values["failure"] is None:
                future.set_result(None)
            else:
                future.set_exception(ArtifactError(values["failure"]))
        code = self._process.wait()
        with self._sending:
            how = f"ended with status {code}" if code >= 0 else f"was ended by signal {-code}"
            self._ended = how
            left = list(self._told.values())
        for future in left:
            future.set_exception(self._lost())
        self._channel.close()


def _path() -> str:
    path = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return os.pathsep.join(filter(None, path))
