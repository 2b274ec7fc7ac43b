"""Bounds on what one client can make the server hold, and what is left for the others."""

import contextlib
import json
import select
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from serve.errors import OverloadedError
from serve.http.body import RequestLimiter
from serve.server.connection_table import MAX_HELD_BYTES
from serve.settings import MAX_BODY_BYTES
from tests.support.attacks import NPY, chunked, get
from tests.support.tiny_model import TinyModel
from tests.support.waiting import until
from tests.support.wire import Served, answer, post, sentence, serving, status

GOOD = post(b"[" + b"0," * 783 + b"0]")
LARGE = b"[" + b" " * 2_500_000 + b"0," * 783 + b"0]"
OTHER = "127.0.0.2"
READ_SECONDS = 0.5


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return TinyModel.random().write(tmp_path_factory.mktemp("limits") / "model")


@pytest.fixture(scope="module")
def served(model: Path) -> Iterator[Served]:
    with serving(model, "--read-timeout", str(READ_SECONDS)) as served:
        yield served


@pytest.fixture(scope="module")
def patient(model: Path) -> Iterator[Served]:
    """A server that waits long for requests, and answers few at once."""
    with serving(model, "--max-requests", "4", "--read-timeout", "60") as served:
        yield served


def exchange(served: Served, request: bytes, source: str = "127.0.0.1") -> bytes:
    with served.connect(source) as line:
        line.sendall(request)
        return answer(line)


def statuses(line: socket.socket) -> list[int]:
    """Statuses of all replies until the server closes."""
    came = b""
    while part := line.recv(65536):
        came += part
    return [int(reply[:3]) for reply in came.split(b"HTTP/1.1 ")[1:]]


@contextlib.contextmanager
def begun(served: Served, count: int, request: bytes) -> Iterator[list[socket.socket]]:
    """So many connections, each with a request that is not whole."""
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(served.connect()) for _ in range(count)]
        for line in lines:
            line.sendall(request)
        yield lines


# --- Pipelining


def test_reading_stops_while_replies_wait(served: Served) -> None:
    before = served.resident_kb()
    with served.connect() as line:
        line.settimeout(1)
        with pytest.raises(TimeoutError):
            line.sendall(get("/openapi.json") * 1_000_000)
        assert served.resident_kb() - before < 16_000
        assert status(answer(line)) == 200


def test_replies_to_pipelined_requests_come_in_order_with_a_body_between(served: Served) -> None:
    ids = [f"X-Request-ID: {number}" for number in range(200)]
    requests = [get("/ping", line) if n % 3 else post(b"[1]", line) for n, line in enumerate(ids)]
    with served.connect() as line:
        line.sendall(b"".join(requests))
        came = b""
        while came.count(b"x-request-id: ") < len(ids):
            came += line.recv(65536)
    found = [part.split(b"\r\n")[0] for part in came.split(b"x-request-id: ")[1:]]
    assert found == [str(number).encode() for number in range(200)]


@pytest.mark.parametrize("first", [get("/ping"), GOOD], ids=["GET", "POST"])
def test_a_pipelined_head_has_the_limit_of_any_other(served: Served, first: bytes) -> None:
    with served.connect() as line:
        line.sendall(first + get("/ping", "X-A: " + "a" * 40_000))
        assert statuses(line) == [200, 431]


def test_what_follows_a_request_costs_it_no_reply(served: Served) -> None:
    with served.connect() as line:
        line.sendall(GOOD + b"no HTTP\r\n\r\n")
        assert statuses(line) == [200, 400]


def test_a_head_of_the_largest_size_may_follow_a_body(served: Served) -> None:
    body = post(b" " * 50_000 + b"[1]")
    with served.connect() as line:
        line.sendall(body + get("/ping", "X-A: " + "a" * 32_000, "Connection: close"))
        assert statuses(line) == [422, 200]


# --- Bodies


def test_trailers_are_no_headers(served: Served) -> None:
    ending = b"0\r\nX-Request-ID: of-the-trailer\r\n\r\n"
    reply = exchange(served, chunked(b"[1]", ending=ending))
    assert status(reply) == 422
    assert b"of-the-trailer" not in reply


def test_a_line_end_after_a_body_begins_no_request(served: Served) -> None:
    with served.connect() as line:
        line.sendall(GOOD + b"\r\n")
        assert status(answer(line)) == 200
        line.settimeout(2 * READ_SECONDS)
        with pytest.raises(TimeoutError):
            line.recv(1)
        line.settimeout(30)
        line.sendall(GOOD)
        assert status(answer(line)) == 200


def test_a_body_that_goes_on_after_its_reply_is_not_answered_again(served: Served) -> None:
    with served.connect() as line:
        line.sendall(post(b"[1", path="/nothing", length=20))
        assert status(answer(line)) == 404
        assert line.recv(1) == b""


@pytest.mark.parametrize(
    "request_",
    [
        post(b"", "Expect: 100-continue", length=100),
        post(b"[", length=3_000_000),
        chunked(b"[", ending=b""),
    ],
    ids=["waits for 100", "a byte of a large body", "a chunk"],
)
def test_requests_that_have_not_come_take_nobodys_place(patient: Served, request_: bytes) -> None:
    with begun(patient, 20, request_):
        assert status(exchange(patient, GOOD)) == 200
        assert status(exchange(patient, post(LARGE))) == 200
        assert status(exchange(patient, chunked(LARGE))) == 200


def test_one_address_may_hold_half_of_the_memory_for_bodies(patient: Served) -> None:
    share = MAX_HELD_BYTES // 2 // len(LARGE)
    before = patient.resident_kb()
    with begun(patient, share, post(LARGE)[:-1]) as lines:
        reply = exchange(patient, post(LARGE))
        if status(reply) == 200:  # It was read before the end of another, which is refused.
            reply = answer(select.select(lines, [], [])[0][0])
        assert status(reply) == 503
        assert b"\r\nretry-after: 1\r\n" in reply
        assert "in memory" in sentence(reply)
        assert status(exchange(patient, GOOD)) == 200
        assert status(exchange(patient, post(LARGE), OTHER)) == 200
        assert patient.resident_kb() - before < 64_000
    until(lambda: status(exchange(patient, post(LARGE))) == 200)


def test_replies_that_nobody_reads_count_too(patient: Served) -> None:
    # Each reply is longer than the kernel takes it.
    blank = [[[255] * 28] * 28] * 1500
    body = json.dumps({"instances": blank}).encode()
    images = post(body, path="/predict?with_input=true")
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(patient.connect()) for _ in range(16)]
        for line in lines:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            line.sendall(images)
            with contextlib.suppress(ConnectionResetError):  # Its own reply was too much.
                line.recv(1, socket.MSG_PEEK)
        assert lines[0].recv(12, socket.MSG_PEEK) == b"HTTP/1.1 200"
        assert status(exchange(patient, post(b" " * MAX_BODY_BYTES))) == 503
        assert status(exchange(patient, images, OTHER)) == 200
    until(lambda: status(exchange(patient, images)) == 200)


def test_one_client_may_have_half_of_the_requests_in_work() -> None:
    limiter = RequestLimiter(4)
    first, second = {"client": ("10.0.0.1", 1)}, {"client": ("10.0.0.2", 1)}
    with limiter.slot(first), limiter.slot(first):
        with (
            pytest.raises(OverloadedError, match="2 requests of this address"),
            limiter.slot(first),
        ):
            pass
        with (
            limiter.slot(second),
            limiter.slot(second),
            pytest.raises(OverloadedError, match="4 requests are being"),
            limiter.slot({}),
        ):
            pass
    with limiter.slot(first):
        pass


def test_a_full_server_refuses_a_request_before_its_body_unless_it_waits_for_leave() -> None:
    limiter = RequestLimiter(2)
    client: dict[str, object] = {"client": ("10.0.0.1", 1), "headers": []}
    waiting = {**client, "headers": [(b"expect", b"100-continue")]}
    limiter.check(client)
    with limiter.slot(client):
        with pytest.raises(OverloadedError, match="1 requests of this address"):
            limiter.check(client)
        limiter.check(waiting)
        limiter.check({"client": ("10.0.0.2", 1), "headers": []})
    limiter.check({"client": ("10.0.0.1", 1), "headers": []})


# --- Connections


def test_one_address_may_have_half_of_the_connections(model: Path) -> None:
    with contextlib.ExitStack() as stack:
        served = stack.enter_context(serving(model, "--max-connections", "4"))
        for source in ("127.0.0.1", OTHER):
            for _ in range(4):
                line = stack.enter_context(served.connect(source))
                line.sendall(GOOD)
                assert status(answer(line)) == 200
        refused = stack.enter_context(served.connect("127.0.0.3"))
        assert status(answer(refused)) == 503


def test_a_trusted_proxy_may_have_all_connections_and_names_its_clients(model: Path) -> None:
    flags = ("--max-connections", "4", "--log-json", "--trusted-proxy", "127.0.0.0/31")
    with contextlib.ExitStack() as stack:
        served = stack.enter_context(serving(model, *flags))
        for number in range(8):
            line = stack.enter_context(served.connect())
            line.sendall(get("/ping", f"X-Forwarded-For: 9.9.9.9, 10.0.0.{number}"))
            assert status(answer(line)) == 200
            assert logged(served)["client"] == f"10.0.0.{number}"


@pytest.mark.parametrize(
    ("source", "header", "client"),
    [
        ("127.0.0.1", "X-Forwarded-For: 10.0.0.1", "10.0.0.1"),
        ("127.0.0.1", "X-Forwarded-For: 10.0.0.1:4711", "10.0.0.1"),
        ("127.0.0.1", "X-Forwarded-For: [FE80::1]:4711", "fe80::1"),
        ("127.0.0.1", "X-Forwarded-For: somebody", "127.0.0.1"),
        ("127.0.0.1", "X-A: a", "127.0.0.1"),
        (OTHER, "X-Forwarded-For: 10.0.0.1", OTHER),
    ],
)
def test_only_a_trusted_proxy_names_a_client(
    proxied: Served, source: str, header: str, client: str
) -> None:
    assert status(exchange(proxied, get("/ping", header), source)) == 200
    assert logged(proxied)["client"] == client


@pytest.fixture(scope="module")
def proxied(model: Path) -> Iterator[Served]:
    with serving(model, "--log-json", "--trusted-proxy", "127.0.0.1") as served:
        yield served


def logged(served: Served) -> dict[str, str]:
    assert served.process.stderr is not None
    line: dict[str, str] = json.loads(served.process.stderr.readline())
    return line


# --- The end


def test_requests_to_upgrade_do_not_hold_the_end(model: Path) -> None:
    upgrade = post(b"a", "Connection: Upgrade", "Upgrade: websocket", kind=NPY, length=60_000)
    with serving(model) as served, begun(served, 20, upgrade) as lines:
        for line in lines:
            assert status(answer(line)) == 400
            assert line.recv(1) == b""
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(10) == 0
