"""The program of a worker, which `fleet.py` starts: it does what it is told over a socket."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from serve.ipc import Channel, Message
from serve.models.manifest import ArtifactError
from serve.rollout.loaded_models import Models
from serve.settings import settings_of


class Member:
    """One worker: its models, its orders, and its server once it is to serve."""

    def __init__(self, models: Models, channel: Channel, listener: socket.socket) -> None:
        self._models = models
        self._channel = channel
        self._listener = listener
        self._sending = threading.Lock()
        self._serving: dict[str, Any] | None = None
        self._may_serve = threading.Event()
        self._ending = False
        self._end: Callable[[], None] = lambda: None

    def listen(self) -> None:
        """Take orders, each in a thread of its own, until the other end is gone."""
        try:
            while True:
                values = dict(self._channel.receive().values)
                threading.Thread(target=self._obey, args=(values,), daemon=True).start()
        except (EOFError, OSError):
            self._do_end()
            self._may_serve.set()

    def serve(self, number: int, workers: int, board: int) -> None:
        """Wait until it is to serve, and do so until it is to end."""
        self._may_serve.wait()
        if self._serving is None:
            return
        from serve.http.metrics import Metrics
        from serve.http.shared_counters import SharedCounters
        from serve.workers.http_server import create_server

        order = self._serving

        def begin() -> None:
            self._reply(order["number"], None)

        metrics = Metrics(SharedCounters(workers, board), number)
        host, settings = order["host"], settings_of(order["settings"])
        # If this worker alone ends, pending connections wait for the one that replaces it.
        server = create_server(
            self._models, host, settings, begin, metrics=metrics, leaves_pending=True
        )
        self._end = server.stop
        if self._ending:
            server.stop()
        server.run(sockets=[self._listener])

    def _obey(self, values: dict[str, Any]) -> None:
        order = values["order"]
        if order == "serve":
            self._serving = values
            self._may_serve.set()
            return
        failure = None
        try:
            _ORDERS[order](self, values)
        except ArtifactError as error:
            failure = str(error)
        self._reply(values["number"], failure)

    def _reply(self, number: int, failure: str | None) -> None:
        with self._sending:
            try:
                self._channel.send(Message({"number": number, "failure": failure}))
            except OSError:  # Nobody hears it; `listen` ends this process.
                return

    def _load(self, values: Mapping[str, Any]) -> None:
        self._models.load(Path(values["folder"]))

    def _answer(self, values: Mapping[str, Any]) -> None:
        self._models.answer(Path(values["folder"]))

    def _drop(self, values: Mapping[str, Any]) -> None:
        self._models.drop(Path(values["folder"]))

    def _do_end(self, values: Mapping[str, Any] | None = None) -> None:
        self._ending = True
        self._end()


_ORDERS: Mapping[str, Callable[[Member, Mapping[str, Any]], None]] = {
    "load": Member._load,
    "answer": Member._answer,
    "drop": Member._drop,
    "end": Member._do_end,
}


def main() -> None:
    """Be a worker until told to end, or until whoever tells is gone."""
    line, address, board, number, workers = map(int, sys.argv[1:])
    for descriptor in (line, address, board):
        os.set_inheritable(descriptor, False)
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: sys.exit(0))
    channel = Channel(socket.socket(fileno=line))
    with Models() as models:
        member = Member(models, channel, socket.socket(fileno=address))
        threading.Thread(target=member.listen, daemon=True).start()
        member.serve(number, workers, board)


if __name__ == "__main__":
    main()
