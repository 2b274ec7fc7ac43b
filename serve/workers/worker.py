"""The program of a worker, which `serve.workers.process` starts: it obeys commands on a socket."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from serve.ipc import Channel, Message
from serve.models.manifest import ArtifactError
from serve.rollout.loaded_models import LoadedModels
from serve.settings import settings_from_json


class Worker:
    """One worker: its models, its commands, and its server once it is to serve."""

    def __init__(self, models: LoadedModels, channel: Channel, listener: socket.socket) -> None:
        self._models = models
        self._channel = channel
        self._listener = listener
        self._sending = threading.Lock()
        self._serve_command: dict[str, Any] | None = None
        self._may_serve = threading.Event()
        self._stopping = False
        self._stop_server: Callable[[], None] = lambda: None

    def read_commands(self) -> None:
        """Run commands, each in a thread of its own, until the supervisor is gone."""
        try:
            while True:
                values = dict(self._channel.receive().values)
                threading.Thread(target=self._run, args=(values,), daemon=True).start()
        except (EOFError, OSError):
            self._stop()
            self._may_serve.set()

    def serve(self, number: int, workers: int, counters: int) -> None:
        """Wait for the command `serve`, and serve until the worker is to stop.

        It is worker `number` of `workers`, with the file `counters` of the counters of all.
        """
        self._may_serve.wait()
        if self._serve_command is None:
            return
        from serve.http.metrics import Metrics
        from serve.workers.http_server import create_server

        command = self._serve_command

        def on_start() -> None:
            self._reply(command["id"], None)

        # If this worker alone ends, pending connections wait for the one that replaces it.
        server = create_server(
            self._models,
            command["host"],
            settings_from_json(command["settings"]),
            on_start,
            metrics=Metrics(counters, workers, number),
            leaves_pending=True,
        )
        self._stop_server = server.stop
        if self._stopping:
            server.stop()
        server.run(sockets=[self._listener])

    def _run(self, values: dict[str, Any]) -> None:
        command = values["command"]
        if command == "serve":
            self._serve_command = values
            self._may_serve.set()
            return
        failure = None
        try:
            if command == "stop":
                self._stop()
            else:  # It is `load`, `answer` or `drop`.
                getattr(self._models, command)(Path(values["folder"]))
        except ArtifactError as error:
            failure = str(error)
        self._reply(values["id"], failure)

    def _reply(self, command_id: int, failure: str | None) -> None:
        with self._sending:
            try:
                self._channel.send(Message({"id": command_id, "failure": failure}))
            except OSError:  # The supervisor is gone; `read_commands` ends this process.
                return

    def _stop(self) -> None:
        self._stopping = True
        self._stop_server()


def main() -> None:
    """Run a worker until it is to stop, or until its supervisor is gone."""
    channel_fd, listener_fd, counters_fd, number, workers = map(int, sys.argv[1:])
    for descriptor in (channel_fd, listener_fd, counters_fd):
        os.set_inheritable(descriptor, False)
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: sys.exit(0))
    channel = Channel(socket.socket(fileno=channel_fd))
    with LoadedModels() as models:
        worker = Worker(models, channel, socket.socket(fileno=listener_fd))
        threading.Thread(target=worker.read_commands, daemon=True).start()
        worker.serve(number, workers, counters_fd)


if __name__ == "__main__":
    main()
