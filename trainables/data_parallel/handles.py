"""Handles on the workers of a trial: actors in Ray, or processes on this machine without it."""

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

from trainables.data_parallel.placement_group import create_actors, run_on_node
from trainables.data_parallel.worker import Worker
from trainables.data_parallel.worker_group import LAST_OUTPUT_S, WorkerLost
from trainables.errors.trial_log import Printed, read_rest, write

SERVE = (
    "from trainables.data_parallel.handles import serve_worker;"
    " serve_worker(int(__import__('sys').argv[1]))"
)
END_S = 5.0
"""Seconds that a worker's process has to end by itself."""


class ActorHandle:
    """Handle on a worker in a bundle of the trial's placement group."""

    def __init__(self, actor: Any) -> None:
        """Take an actor of the class `Worker`."""
        self._actor = actor
        self._is_lost = False
        self._last: Printed | None = None
        self._written_bytes = 0
        """Bytes of its output that are in the trial's log."""

    def call(self, method: str, *arguments: Any) -> Any:
        """Call the worker; write what it printed on another node into the trial's log."""
        try:
            reply = ray.get(self._actor.call.remote(method, *arguments))
        except RayTaskError:
            raise
        except RayError as error:  # its process, its node or its memory is gone
            self._is_lost = True
            raise WorkerLost from error
        if reply.printed is not None:
            self._last = reply.printed
            self._write(reply.printed.content)
        return reply.answer

    def end(self) -> None:
        """End the worker's process; of a lost one, write its last output into the trial's log."""
        last, self._last = self._last if self._is_lost else None, None
        ray.kill(self._actor)
        if last is not None:
            rest = run_on_node(last.node, read_rest, last.file, self._written_bytes)
            with suppress(RayError):  # its node is lost, too
                self._write(ray.get(rest, timeout=LAST_OUTPUT_S))

    def _write(self, content: bytes) -> None:
        self._written_bytes += len(content)
        write(content)


def start_actors(count: int) -> Sequence[ActorHandle]:
    """Start that many workers for the trial of this process, which has a bundle for each."""
    return [ActorHandle(actor) for actor in create_actors(Worker, count + 1)]


class ProcessHandle:
    """Handle on a worker in a child process, which ends with this one."""

    def __init__(self) -> None:
        """Start the process."""
        ours, theirs = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(theirs.fileno())],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self._connection = Connection(ours.detach())

    def call(self, method: str, *arguments: Any) -> Any:
        """Call the worker."""
        request = cloudpickle.dumps((method, arguments))
        try:
            self._connection.send_bytes(request)
            return cloudpickle.loads(self._connection.recv_bytes()).answer
        except (OSError, EOFError) as error:
            raise WorkerLost from error

    def end(self) -> None:
        """Hang up, and wait for the process; one that waits for another worker is killed."""
        self._connection.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def start_processes(count: int) -> Sequence[ProcessHandle]:
    """Start that many workers as child processes."""
    return [ProcessHandle() for _ in range(count)]


def serve_worker(file: int) -> None:
    """Run a worker for the process at the other end of a socket, until that hangs up."""
    connection, worker = Connection(file), Worker()
    while True:
        try:
            method, arguments = cloudpickle.loads(connection.recv_bytes())
        except (OSError, EOFError):
            return
        connection.send_bytes(cloudpickle.dumps(worker.call(method, *arguments)))
