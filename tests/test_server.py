"""The server in process: who is let in, and how soon."""

import asyncio
import contextlib
import socket
from pathlib import Path

import uvloop

from serve.listening import bound
from serve.models import Models
from serve.server import ACCEPTED, built
from serve.settings import Settings
from tests.tiny_model import TinyModel


def test_those_who_come_new_are_accepted_many_in_a_turn(tmp_path: Path) -> None:
    folder = TinyModel.random().write(tmp_path / "model")

    async def turns() -> int:
        server = built(models, "127.0.0.1", Settings(), lambda: None)
        serving = asyncio.create_task(server.serve([listener]))
        while not server.started:
            await asyncio.sleep(0)
        with contextlib.ExitStack() as clients:
            for _ in range(2 * ACCEPTED):
                clients.enter_context(socket.create_connection(listener.getsockname(), 30))
            count = 0
            while len(server.server_state.connections) < 2 * ACCEPTED:
                await asyncio.sleep(0)
                count += 1
        server.should_exit = True
        await serving
        return count

    with bound("127.0.0.1", 0) as listener, Models() as models:
        models.load(folder)
        models.answer(folder)
        listener.listen(100)
        assert uvloop.run(turns()) < ACCEPTED
