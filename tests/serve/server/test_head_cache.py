"""Requests that repeat a head: all get their own answers, and no other's."""

import contextlib
import io
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import uvicorn
from starlette.types import Scope

from serve.http.access import AccessPolicy, digest_key
from serve.http.app import create_app
from serve.rollout.registry import Registry
from serve.runtime.onnx_backend import OnnxBackend
from serve.server.head_cache import MAX_HEAD_BYTES, CachedHead
from serve.server.responder import SendReply
from serve.server.small_requests import create_protocol
from serve.settings import ClientLimits
from tests.support.fake_model import DIGITS, Fake
from tests.support.wire import answer, body, post, status

NEWER = replace(DIGITS, version="ffffffffffff")


class Server:
    """A server in a thread of this process, whose model a test may change."""

    def __init__(self, log: io.StringIO) -> None:
        self.registry = Registry(OnnxBackend(Fake()))
        access = AccessPolicy(frozenset({"localhost"}), digest_key("secret"))
        app = create_app(self.registry, access=access, log=log)
        protocol = create_protocol(ClientLimits(), app.request_middleware)
        config = uvicorn.Config(app, http=protocol, lifespan="off", log_config=None)
        self._server = uvicorn.Server(config)
        self._listener = socket.create_server(("127.0.0.1", 0))
        sockets = [self._listener]
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": sockets})
        self._thread.start()

    def connect(self, host: str = "127.0.0.1") -> socket.socket:
        """A connection from that address."""
        return socket.create_connection(self._listener.getsockname(), 30, (host, 0))

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join()


@pytest.fixture
def log() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def server(log: io.StringIO) -> Iterator[Server]:
    with contextlib.closing(Server(log)) as server:
        yield server


@pytest.fixture
def line(server: Server) -> Iterator[socket.socket]:
    with server.connect() as line:
        yield line


def image(digit: int, *headers: str, key: str = "secret") -> bytes:
    """A request, whose answer tells the digit."""
    file = io.BytesIO()
    pixels = np.full((1, 28, 28), 200, np.uint8)
    pixels[0, 0, 0] = digit
    np.save(file, pixels)
    return post(file.getvalue(), f"x-api-key: {key}", *headers, kind="application/x-npy")


def exchange(line: socket.socket, request: bytes) -> bytes:
    line.sendall(request)
    return answer(line)


def outputs(reply: bytes) -> Any:
    assert status(reply) == 200, reply
    return json.loads(body(reply))


def test_requests_with_the_same_head_get_their_own_answers(line: socket.socket) -> None:
    for digit in (3, 1, 4, 1, 5, 9, 2, 6):
        answers = outputs(exchange(line, image(digit)))
        assert np.argmax(answers) == digit


def test_requests_with_the_same_head_have_ids_and_log_lines_of_their_own(
    log: io.StringIO, line: socket.socket
) -> None:
    replies = [exchange(line, image(value)) for value in (1, 2, 3)]
    ids = {reply.partition(b"x-request-id: ")[2].partition(b"\r\n")[0] for reply in replies}
    assert len(ids) == 3
    entries = [json.loads(text) for text in log.getvalue().splitlines()]
    assert {entry["id"].encode() for entry in entries} == ids
    assert {(entry["client"], entry["status"]) for entry in entries} == {("127.0.0.1", 200)}


def test_a_head_of_another_connection_is_matched_without_its_key_or_address(
    server: Server, log: io.StringIO, line: socket.socket
) -> None:
    assert status(exchange(line, image(9))) == 200
    for digit in (3, 1):
        with server.connect("127.0.0.2") as other:
            assert np.argmax(outputs(exchange(other, image(digit)))) == digit
            assert status(exchange(other, b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n")) == 200
            assert np.argmax(outputs(exchange(other, image(digit)))) == digit
    with server.connect() as stranger:
        assert status(exchange(stranger, image(9, key="wrong!"))) == 401
        assert status(exchange(stranger, image(9))) == 200
    entries = [json.loads(text) for text in log.getvalue().splitlines()]
    assert [entry["client"] for entry in entries] == [
        "127.0.0.1",
        *["127.0.0.2"] * 6,
        *["127.0.0.1"] * 2,
    ]


def test_a_repeated_head_is_answered_by_the_current_model(
    server: Server, line: socket.socket
) -> None:
    for _ in range(2):
        assert f"x-model-version: {DIGITS.version}".encode() in exchange(line, image(9))
    server.registry.put(OnnxBackend(Fake(NEWER)))
    assert f"x-model-version: {NEWER.version}".encode() in exchange(line, image(9))


def test_other_requests_between_repeated_heads_are_parsed(line: socket.socket) -> None:
    expected = outputs(exchange(line, image(9)))
    assert status(exchange(line, b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n")) == 200
    assert outputs(exchange(line, image(9))) == expected
    line.sendall(image(9)[:200])
    line.sendall(image(9)[200:] + image(9) + image(9)[:100])
    line.sendall(image(9)[100:])
    came = b""
    while came.count(b"HTTP/1.1 200") < 3 or came.count(b"]]") < 3:
        came += line.recv(65536)
    assert came.count(body(exchange(line, image(9)))) == 3


def test_a_repeated_head_may_be_refused_and_answered_in_turn(line: socket.socket) -> None:
    bad = post(b"x" * len(body(image(9))), "x-api-key: secret", kind="application/x-npy")
    for request, expected in ((image(9), 200), (bad, 400), (image(9), 200), (bad, 400)):
        assert status(exchange(line, request)) == expected
    for _ in range(3):
        assert status(exchange(line, image(9, key="wrong!"))) == 401
    assert status(exchange(line, image(9))) == 200


def test_a_request_that_closes_the_connection_is_its_last(line: socket.socket) -> None:
    for _ in range(2):
        assert status(exchange(line, image(9))) == 200
    assert b"connection: close" in exchange(line, image(9, "Connection: close"))
    assert line.recv(1) == b""


def answer_nothing(scope: Scope, body: bytes, send: SendReply) -> bool:
    pytest.fail("no request is answered")


@pytest.mark.parametrize(
    "whole",
    [
        post(b"1") + b"\r\n",
        post(b"1") + post(b"1"),
        post(b"1")[:-1],
        b"\r\n\r\n" + post(b"1"),
        post(b"1").replace(b"\r\n", b"\n"),
        post(b"1").replace(b"\r\n", b"\n", 1),
        post(b"1", f"x-long: {'x' * MAX_HEAD_BYTES}"),
    ],
    ids=[
        "more than one", "two", "a part", "empty lines before", "bare line feeds",
        "one bare line feed", "a long one",
    ],
)  # fmt: skip
def test_a_head_is_cached_only_if_it_is_plain_and_came_whole(whole: bytes) -> None:
    assert CachedHead.parse(whole, {}, answer_nothing, 1) is None


def test_a_cached_head_matches_by_its_bytes() -> None:
    head = CachedHead.parse(post(b"1"), {}, answer_nothing, 1)
    assert head is not None
    assert head.match(post(b"2")) == b"2"
    for other in (post(b"22"), post(b"2", path="/predict"), post(b"2")[:-1], post(b"2") + b"3"):
        assert head.match(other) is None
