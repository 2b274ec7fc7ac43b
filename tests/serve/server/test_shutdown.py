"""Shutdown of a server by a signal: no request that has come is lost."""

import contextlib
import json
from pathlib import Path

import pytest

from tests.support.tiny_model import TinyModel
from tests.support.wire import Served, answer, body, post, serving, status

PING = b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n"
CONTENT = json.dumps([0] * 784).encode()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return TinyModel.random().write(tmp_path / "model")


def accepts(server: Served) -> bool:
    """Whether one can still connect."""
    try:
        server.connect().close()
    except ConnectionRefusedError:
        return False
    return True


def ends(server: Served) -> int:
    return server.process.wait(60)


def test_a_draining_connection_gets_one_more_reply_that_closes_it(model: Path) -> None:
    with serving(model) as server, server.connect() as line, server.connect() as waiting:
        line.sendall(PING)
        assert status(answer(line)) == 200
        waiting.sendall(post(b"", "Expect: 100-continue", length=len(CONTENT)))
        assert waiting.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        server.process.terminate()
        # While a request is under way the server stays; this one is closed for its silence.
        assert line.recv(1) == b""
        waiting.sendall(CONTENT)
        reply = answer(waiting)
        assert status(reply) == 200
        assert b"\r\nconnection: close\r\n" in reply
        assert waiting.recv(1) == b""
        assert ends(server) == 0


def test_a_draining_server_is_not_ready(model: Path) -> None:
    with serving(model) as server, server.connect() as line, server.connect() as waiting:
        waiting.sendall(post(b"", "Expect: 100-continue", length=len(CONTENT)))
        assert waiting.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        # Half a head, so that the connection is no idle one.
        line.sendall(PING[:20])
        server.process.terminate()
        while accepts(server):
            pass
        line.sendall(PING[20:])
        reply = answer(line)
        assert (status(reply), json.loads(body(reply))) == (503, {"error": "the server is ending"})
        assert b"\r\nconnection: close\r\n" in reply
        waiting.sendall(CONTENT)
        assert status(answer(waiting)) == 200
        assert ends(server) == 0


def test_pending_connections_are_answered_before_the_end(model: Path) -> None:
    with serving(model) as server, contextlib.ExitStack() as lines:
        clients = [lines.enter_context(server.connect()) for _ in range(50)]
        server.process.terminate()
        for client in clients:
            client.sendall(post(CONTENT))
        assert [status(answer(client)) for client in clients] == [200] * 50
        assert ends(server) == 0
