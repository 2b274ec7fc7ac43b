"""The server in process: who is let in, and how soon."""

import asyncio
import contextlib
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import uvloop

from serve.rollout.loaded_models import LoadedModels
from serve.server.sockets import bind
from serve.settings import Settings
from serve.workers.http_server import create_server
from tests.support.tiny_model import TinyModel

COMING = 60
MOST_FILES = 100
PING = b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_pending_connections_are_accepted_together(tmp_path: Path) -> None:
    folder = TinyModel.random().write(tmp_path / "model")

    async def turns() -> int:
        server = create_server(models, "127.0.0.1", Settings(), lambda: None)
        serving = asyncio.create_task(server.serve([listener]))
        while not server.started:
            await asyncio.sleep(0)
        with contextlib.ExitStack() as clients:
            for _ in range(COMING):
                clients.enter_context(socket.create_connection(listener.getsockname(), 30))
            count = 0
            while len(server.server_state.connections) < COMING:
                await asyncio.sleep(0)
                count += 1
        server.should_exit = True
        await serving
        return count

    with bind("127.0.0.1", 0) as listener, LoadedModels() as models:
        models.load(folder)
        models.answer(folder)
        listener.listen(100)
        assert uvloop.run(turns()) < COMING / 4


LIMITED = """
import resource, sys
from serve.__main__ import main
resource.setrlimit(resource.RLIMIT_NOFILE, ({most}, {most}))
main(sys.argv[1:])
"""


@pytest.mark.parametrize("leave", [True, False])
def test_without_free_descriptors_a_connection_waits_for_others_to_close_or_the_drain(
    tmp_path: Path, leave: bool
) -> None:
    folder = TinyModel.random().write(tmp_path / "model")
    code = LIMITED.format(most=MOST_FILES)
    command = [sys.executable, "-c", code, str(folder), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            port = int(process.stderr.readline().rpartition(":")[2].partition("/")[0])
            with contextlib.ExitStack() as clients:
                lines = [
                    clients.enter_context(socket.create_connection(("127.0.0.1", port), 60))
                    for _ in range(MOST_FILES)
                ]
                for line in lines:
                    line.sendall(PING)
                assert lines[0].recv(15) == lines[1].recv(15) == b"HTTP/1.1 200 OK"
                last = lines[-1]
                assert select.select([last], [], [], 0.5) == ([], [], [])
                if leave:
                    for line in lines[:-1]:
                        line.close()
                else:
                    process.send_signal(signal.SIGTERM)
                assert last.recv(12) == (b"HTTP/1.1 200" if leave else b"HTTP/1.1 503")
            process.send_signal(signal.SIGTERM)
            assert (process.wait(60), process.stderr.read()) == (0, "")
        finally:
            process.kill()
