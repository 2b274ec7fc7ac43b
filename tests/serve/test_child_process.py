"""Children of the server: started with a channel, watched, restarted, and ended with their own."""

import os
import select
import threading
from pathlib import Path

import pytest

from serve.child_process import ChildProcess, ChildSupervisor
from serve.ipc import Message

PROGRAM = """
import socket, subprocess, sys
from serve.ipc import Channel, Message
channel = Channel(socket.socket(fileno=int(sys.argv[1])))
own = subprocess.Popen(["sleep", "600"])
channel.send(Message({"own": own.pid, "arguments": sys.argv[2:]}))
sys.exit(channel.receive().values["status"])
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a module that starts a process of its own, and ends with a status on request."""
    (tmp_path / "child_for_tests.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "child_for_tests"


def wait_for_end(descriptor: int) -> None:
    assert select.select([descriptor], [], [], 60)[0]
    os.close(descriptor)


def test_a_child_gets_its_arguments_and_ends_with_what_it_started(program: str) -> None:
    child = ChildProcess(program, 7, 8)
    started = child.channel.receive(60).values
    assert started["arguments"] == ["7", "8"]
    own = os.pidfd_open(started["own"])
    child.channel.send(Message({"status": 3}))
    assert child.wait() == child.wait() == "ended with status 3"
    wait_for_end(own)
    child.kill()  # It has ended: nothing happens.
    child.channel.close()


def test_a_child_that_ends_is_started_again_until_the_supervisor_stops(program: str) -> None:
    children: list[ChildProcess] = []
    reasons: list[str] = []
    started = threading.Semaphore(0)

    def start() -> ChildProcess:
        children.append(ChildProcess(program))
        started.release()
        return children[-1]

    def fail(error: Exception) -> None:
        raise AssertionError(error)

    supervisor = ChildSupervisor(start, reasons.append, fail, errors=(OSError,))
    supervisor.watch()
    for number in range(2):
        assert started.acquire(timeout=60)
        children[number].kill()
    assert started.acquire(timeout=60)
    supervisor.stop()
    children[2].kill()
    supervisor.join(60)
    assert reasons == ["was killed by signal 9"] * 3
    for child in children:
        child.channel.close()


def test_a_start_that_fails_is_reported_and_a_stop_does_not_wait_for_the_next() -> None:
    failed = threading.Event()

    def start() -> ChildProcess:
        raise OSError("no memory")

    supervisor = ChildSupervisor(
        start, lambda reason: None, lambda error: failed.set(), errors=(OSError,)
    )
    supervisor.watch()
    assert failed.wait(60)
    supervisor.stop()
    supervisor.join(60)
