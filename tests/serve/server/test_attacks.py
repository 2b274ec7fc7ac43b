"""Attacks on a server: every one gets its status, and the next good request is answered."""

import contextlib
import json
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pytest

from tests.support.attacks import (
    ATTACKS,
    NPY,
    Attack,
    get,
    npy,
)
from tests.support.tiny_model import TinyModel
from tests.support.wire import Served, answer, body, post, sentence, serving, status

GOOD = post(json.dumps([[0] * 784]).encode())
GROWTH_KB = 150_000
"""Memory that all attacks may add: reading one body of the largest size takes 100 MB."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    model = TinyModel.random().write(tmp_path_factory.mktemp("attacked") / "model")
    limits = ("--read-timeout", "0.5", "--write-timeout", "1", "--max-connections", "64")
    with serving(model, *limits) as served:
        status(served.exchange(GOOD))
        yield served


@pytest.fixture(scope="module", autouse=True)
def memory(served: Served) -> Iterator[None]:
    """Holds over the whole table that memory stays flat."""
    before = served.resident_kb()
    yield
    assert served.resident_kb() - before < GROWTH_KB


@pytest.fixture(autouse=True)
def afterwards(served: Served) -> Iterator[None]:
    yield
    assert status(served.exchange(GOOD)) == 200


@pytest.mark.parametrize(("attack", "expected"), ATTACKS.values(), ids=ATTACKS)
def test_an_attack_gets_the_status_of_its_kind(
    served: Served, attack: Attack, expected: int
) -> None:
    parts = attack if isinstance(attack, list) else [attack]
    reply = served.exchange(*parts)
    assert status(reply) == expected
    if not parts[0].startswith(b"HEAD"):
        assert "Traceback" not in sentence(reply)


@pytest.mark.parametrize(("attack", "expected"), ATTACKS.values(), ids=ATTACKS)
def test_an_attack_on_a_used_connection_gets_the_same_status(
    served: Served, attack: Attack, expected: int
) -> None:
    parts = attack if isinstance(attack, list) else [attack]
    with served.connect() as line:
        for _ in range(3):
            line.sendall(GOOD)
            assert status(answer(line)) == 200
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for part in parts:
                line.sendall(part)
        assert status(answer(line)) == expected


# --- What is no attack, and must go on


def test_expect_100_continue_is_answered_before_the_body(served: Served) -> None:
    with served.connect() as line:
        content = body(GOOD)
        line.sendall(post(content, "Expect: 100-continue")[: -len(content)])
        assert line.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        line.sendall(content)
        assert status(answer(line)) == 200


def test_a_health_check_in_http_1_0_needs_no_host(served: Served) -> None:
    assert status(served.exchange(b"GET /ping HTTP/1.0\r\n\r\n")) == 200


def test_a_request_in_pieces_is_answered(served: Served) -> None:
    with served.connect() as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(GOOD), 97):
            line.sendall(GOOD[at : at + 97])
        assert status(answer(line)) == 200


def test_an_upgrade_is_ignored(served: Served) -> None:
    upgrade = get("/ping", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: YQ==")
    assert status(served.exchange(upgrade)) == 200


def test_10_000_pipelined_requests_are_answered_in_order(served: Served) -> None:
    with served.connect() as line:
        reader = line.makefile("rb")
        for _ in range(10):
            line.sendall(get("/ping") * 500 + get("/nothing") * 500)
            for expected in [b"200"] * 500 + [b"404"] * 500:
                assert reader.readline()[9:12] == expected
                length = 0
                while (header := reader.readline()) != b"\r\n":
                    if header.lower().startswith(b"content-length:"):
                        length = int(header[15:])
                reader.read(length)


# --- Connections


def test_a_silent_connection_is_closed_without_a_reply(served: Served) -> None:
    with served.connect() as line:
        assert line.recv(1) == b""


def test_a_connection_that_only_sends_line_feeds_is_closed(served: Served) -> None:
    with served.connect() as line:
        line.sendall(b"\r\n\r\n")
        assert status(answer(line)) in (0, 408)


def test_connections_of_one_address_are_limited(served: Served) -> None:
    lines = [served.connect() for _ in range(64)]
    for line in lines:  # One that was answered is not closed for its silence.
        line.sendall(get("/ping"))
        assert status(answer(line)) == 200
    lines += [served.connect() for _ in range(6)]
    replies = [answer(line) for line in lines[64:]]
    assert [status(reply) for reply in replies] == [429] * 6
    assert "64 connections" in sentence(replies[0])
    for line in lines:
        with line, suppress(OSError):  # those that were refused may be gone
            line.shutdown(socket.SHUT_WR)
            line.recv(1)  # Comes back once the server knows that this connection is over.


def test_closed_connections_are_forgotten(served: Served) -> None:
    for _ in range(500):
        with served.connect() as line:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            line.sendall(GOOD[:-5])


def test_a_client_that_left_before_it_was_accepted_is_asked_for_nothing(served: Served) -> None:
    before = count_requests(served)
    served.process.send_signal(signal.SIGSTOP)
    for _ in range(5):
        with served.connect() as line:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            line.sendall(GOOD)
    served.process.send_signal(signal.SIGCONT)
    assert count_requests(served) == before


def count_requests(served: Served) -> list[bytes]:
    """The lines of metrics that count requests for the model."""
    with served.connect() as line:
        line.sendall(get("/metrics"))
        lines = answer(line).splitlines()
    return [line for line in lines if line.startswith(b'tuneport_requests_total{route="/invoc')]


def test_a_client_that_does_not_read_is_cut_off(served: Served) -> None:
    images = npy(np.zeros((7000, 784), np.uint8))
    with served.connect() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        try:
            for _ in range(50):
                line.sendall(post(images, kind=NPY))
        except (ConnectionResetError, BrokenPipeError, TimeoutError):
            return
    pytest.fail("it took every request of a client that reads nothing")
