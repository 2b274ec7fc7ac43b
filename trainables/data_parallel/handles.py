"""The further workers of a trial: actors in Ray, or processes on this machine without it."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import ray
from ray import cloudpickle
from ray.exceptions import RayError, RayTaskError

from trainables.data_parallel.placement_group import errand, further
from trainables.data_parallel.worker import Fellow
from trainables.data_parallel.worker_group import REST_S, Lost
from trainables.errors.trial_log import Printed, rest, write

BEGIN = "from trainables.data_parallel.handles import serve; serve(int(__import__('sys').argv[1]))"


END_S = 5.0
"""Seconds that a further worker has to end by itself."""


class Actor:
    """A worker in a bundle of the trial's placement group."""

    def __init__(self, actor: Any) -> None:
        """Take an actor that is a `Fellow`."""
        self._actor = actor
        self._is_lost = False
        self._last: Printed | None = None
        self._heard = 0
        """Bytes of what it printed."""

    def call(self, method: str, *arguments: Any) -> Any:
        """What it answers; what it printed on another node goes to this process's log."""
        try:
            reply = ray.get(self._actor.act.remote(method, *arguments))
        except RayTaskError:
            raise
        except RayError as error:  # its process, its node or its memory is gone
            self._is_lost = True
            raise Lost from error
        if reply.printed is not None:
            self._last = reply.printed
            self._hear(reply.printed.content)
        return reply.answer

    def end(self) -> None:
        """End its process; of one that was lost the last that it printed goes to the log, too."""
        last, self._last = self._last if self._is_lost else None, None
        ray.kill(self._actor)
        if last is not None:
            asked = errand(last.node, rest, last.file, self._heard)
            with suppress(RayError):  # its node is lost, too
                self._hear(ray.get(asked, timeout=REST_S))

    def _hear(self, content: bytes) -> None:
        self._heard += len(content)
        write(content)


def actors(count: int) -> Sequence[Actor]:
    """The further workers of the trial whose process this is, which has as many more bundles."""
    return [Actor(actor) for actor in further(Fellow, count + 1)]


class Process:
    """A worker in a process that this one started and that ends with it."""

    def __init__(self) -> None:
        """Start it."""
        ours, theirs = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, "-c", BEGIN, str(theirs.fileno())],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self._line = Connection(ours.detach())

    def call(self, method: str, *arguments: Any) -> Any:
        """What it answers."""
        asked = cloudpickle.dumps((method, arguments))
        try:
            self._line.send_bytes(asked)
            return cloudpickle.loads(self._line.recv_bytes()).answer
        except (OSError, EOFError) as error:
            raise Lost from error

    def end(self) -> None:
        """Hang up, and wait until it has ended; one that waits for another worker is killed."""
        self._line.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def processes(count: int) -> Sequence[Process]:
    """As many processes, each of which can be a further worker."""
    return [Process() for _ in range(count)]


def serve(file: int) -> None:
    """Be a further worker for the process at the other end, until that hangs up."""
    line, fellow = Connection(file), Fellow()
    while True:
        try:
            method, arguments = cloudpickle.loads(line.recv_bytes())
        except (OSError, EOFError):
            return
        line.send_bytes(cloudpickle.dumps(fellow.act(method, *arguments)))
