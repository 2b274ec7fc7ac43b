"""Clients that take from a server what they can: `python -m tests.support.floods NAME PORT`.

Each is one client at 127.0.0.1, which goes on for `SECONDS` or until it has sent `MAX_BYTES`.
"""

import contextlib
import gzip
import json
import selectors
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from tests.support.attacks import INFER, MEGABYTE, NPY, PNG, chunked, get, npy, png
from tests.support.wire import post

SECONDS = 2.0
MAX_BYTES = 200 * 2**20
TEXT = b"x" * 20_000
IMAGE = b"[" + b"0," * 783 + b"0]"


@contextlib.contextmanager
def connections(port: int, count: int) -> Iterator[list[socket.socket]]:
    """So many connections, none of which waits for the server; those refused are left out."""
    with contextlib.ExitStack() as stack:
        lines = []
        for _ in range(count):
            with contextlib.suppress(OSError):
                line = stack.enter_context(socket.create_connection(("127.0.0.1", port), 5))
                line.setblocking(False)
                lines.append(line)
        yield lines


def push(port: int, count: int, first: bytes, again: bytes = b"", *, pause_s: float = 0) -> None:
    """Send `first` on `count` connections, then `again` as often as they take it; read nothing."""
    end, left = time.monotonic() + SECONDS, MAX_BYTES
    with connections(port, count) as lines, selectors.DefaultSelector() as selector:
        for line in lines:
            selector.register(line, selectors.EVENT_WRITE, first)
        while time.monotonic() < end and left > 0 and selector.get_map():
            for key, _ in selector.select(end - time.monotonic()):
                sent = _send(key.fileobj, key.data or again)
                left -= max(sent, 0)
                rest = (key.data or again)[sent:]
                if sent < 0 or not (rest or again) or pause_s:
                    selector.unregister(key.fileobj)
                else:
                    selector.modify(key.fileobj, selectors.EVENT_WRITE, rest)
            if pause_s:
                time.sleep(pause_s)
                for line in lines:
                    with contextlib.suppress(KeyError, ValueError):
                        selector.register(line, selectors.EVENT_WRITE, again)
        time.sleep(max(0, end - time.monotonic()))


def _send(line: object, data: bytes) -> int:
    assert isinstance(line, socket.socket)
    try:
        return line.send(data)
    except BlockingIOError:
        return 0
    except OSError:
        return -1


def ask(port: int, count: int, requests: Iterable[bytes]) -> None:
    """Send requests in turn on `count` connections, and drop what is answered."""
    end = time.monotonic() + SECONDS
    endless = _repeat(list(requests))
    while time.monotonic() < end:
        with connections(port, count) as lines, selectors.DefaultSelector() as selector:
            for line in lines:
                line.setblocking(True)
                with contextlib.suppress(OSError):
                    line.sendall(next(endless))
                    line.setblocking(False)
                    selector.register(line, selectors.EVENT_READ)
            while time.monotonic() < end and selector.get_map():
                for key, _ in selector.select(0.1):
                    asked = key.fileobj
                    assert isinstance(asked, socket.socket)
                    with contextlib.suppress(OSError):
                        if asked.recv(1 << 20):
                            asked.setblocking(True)
                            asked.sendall(next(endless))
                            asked.setblocking(False)
                            continue
                    selector.unregister(asked)


def _repeat(requests: list[bytes]) -> Iterator[bytes]:
    while True:
        yield from requests


def begun(length: int, content: bytes = b"", *headers: str) -> bytes:
    """The head of a request with a body of this length, and its first bytes."""
    return post(content, *headers, kind=NPY, length=length)


def numbers_with_a_text(size: int) -> list[bytes]:
    """JSON whose numbers have one text among them, for each route."""
    rest = b",".join([b"1"] * (size // 8))
    values = b'["' + b"x" * (size - len(rest)) + b'",' + rest + b"]"
    tensor = {"name": "image", "datatype": "FP32", "shape": [1, 1, 28, 28], "data": [0]}
    infer = json.dumps({"inputs": [tensor]}).encode().replace(b"[0]", values)
    return [
        post(values),
        post(b'{"instances": ' + values + b"}", path="/predict"),
        post(infer, path=INFER),
    ]


def two_sizes() -> bytes:
    """A PNG that says 28 by 28 first, and 8,000 by 8,000 after."""
    small, large = png(28, 28, b""), png(8000, 8000, bytes(8001 * 8000))
    return small[:33] + large[8:]


def trailers() -> bytes:
    """A chunked request up to where its trailers may begin."""
    return chunked(b"[1]", ending=b"0\r\n")


def compressed() -> bytes:
    """A body of 200 MB, which is 200 KB compressed."""
    return post(gzip.compress(b" " * 200 * 2**20), "Content-Encoding: gzip")


def floats(size: int) -> bytes:
    """JSON of numbers with a fraction, of about so many bytes."""
    return b"[" + b"0.1," * (size // 4) + b"0]"


ROW = b",".join([b"0.1"] * 784)
"""An image of 3 KB; 1,900 have nearly 6 MB."""


def infer(count: int) -> bytes:
    """A request of the Open Inference Protocol for so many images."""
    tensor = {"name": "image", "datatype": "FP32", "shape": [count, 1, 28, 28], "data": [0]}
    body = json.dumps({"inputs": [tensor]}).encode()
    return post(body.replace(b"[0]", b"[%b]" % b",".join([ROW] * count)), path=INFER)


FLOODS: dict[str, Callable[[int], None]] = {
    "nobody": lambda port: time.sleep(SECONDS),
    # Memory
    "A2 a text among numbers, 30 KB": lambda port: ask(port, 1, numbers_with_a_text(30_000)),
    "A2 a text among numbers, 120 KB": lambda port: ask(port, 1, numbers_with_a_text(120_000)),
    "A3 two sizes in a PNG": lambda port: ask(
        port, 1, [post(two_sizes(), path="/predict", kind=PNG)]
    ),
    "A4 trailers": lambda port: push(port, 1, trailers(), b"X-A: " + b"a" * 60_000 + b"\r\n"),
    "A4 many small trailers": lambda port: push(port, 1, trailers(), b"X-A: a\r\n" * 8000),
    "A5 GETs, unread": lambda port: push(port, 1, b"", get() * 1000),
    "A5 GETs of a page, unread": lambda port: push(port, 8, b"", get("/openapi.json") * 1000),
    "A5 POSTs, unread": lambda port: push(port, 8, b"", post(IMAGE) * 30),
    "large replies, unread": lambda port: push(
        port, 64, b"", post(npy(np.zeros((1500, 784), np.uint8)), kind=NPY)
    ),
    "numbers of 6 MB": lambda port: ask(port, 8, [post(floats(6_000_000))]),
    "JSON images of 6 MB": lambda port: ask(
        port, 8, [post(b"[%b]" % b",".join([b"[%b]" % ROW] * 1900))]
    ),
    "numbers of 6 MB, then true": lambda port: ask(
        port, 8, [post(floats(6_000_000)[:-2] + b"true]")]
    ),
    "JSON of 6 MB to /v2": lambda port: ask(port, 8, [infer(1900)]),
    "CSV of 6 MB": lambda port: ask(port, 8, [post(b"\n".join([ROW] * 1900), kind="text/csv")]),
    "CSV of 6 MB in a line": lambda port: ask(
        port, 8, [post(b",".join([ROW] * 1900), kind="text/csv")]
    ),
    "CSV of 200,000 lines": lambda port: ask(port, 8, [post(b"0.1\n" * 200_000, kind="text/csv")]),
    "CSV of 6 MB, and gone": lambda port: _leave(
        port, post(b"\n".join([ROW] * 1900), kind="text/csv")
    ),
    "gzip of 200 MB": lambda port: ask(port, 8, [compressed()]),
    "NPY of 6 MB": lambda port: ask(
        port, 64, [post(npy(np.zeros((7000, 784), np.uint8)), kind=NPY)]
    ),
    # What is begun and not ended
    "A7 130 wait for 100": lambda port: push(port, 130, begun(1000, b"", "Expect: 100-continue")),
    "A7 a byte of 8 large bodies": lambda port: push(port, 8, begun(3_000_000, b"\x93")),
    "A7 a byte of 64 chunked bodies": lambda port: push(port, 64, chunked(b"[", ending=b"")),
    "A7 400 connections that ask": lambda port: ask(port, 400, [post(IMAGE)]),
    "64 large bodies, all but a byte": lambda port: push(
        port, 64, begun(3_000_000, bytes(2_999_999))
    ),
    "500 bodies of 60 KB, all but a byte": lambda port: push(
        port, 500, begun(60_000, bytes(59_999))
    ),
    "500 heads of 30 KB, all but a byte": lambda port: push(
        port, 500, b"GET /ping HTTP/1.1\r\nX-A: " + b"a" * 30_000
    ),
    "500 silent connections": lambda port: push(port, 500, b""),
    "1,000 silent connections": lambda port: push(port, 1000, b""),
    "500 slow heads": lambda port: push(
        port, 500, b"GET /ping HTTP/1.1\r\n", b"X-A: a\r\n", pause_s=0.2
    ),
    "500 slow bodies": lambda port: push(port, 500, begun(60_000), b"a", pause_s=0.2),
    "connections one after another": lambda port: _churn(port),
    # The event loop
    "B10 3,800 inputs of 61 KB": lambda port: ask(
        port, 1, [post(b"[" + b",".join([b"[0.1,0.2,0.3,0]"] * 3800) + b"]")]
    ),
    "B10 /metrics": lambda port: ask(port, 64, [get("/metrics")]),
    "B11 JSON 1,010 deep": lambda port: ask(port, 8, [post(b"[" * 1010 + b"]" * 1010)]),
    "B11 pipelined heads without end": lambda port: push(
        port, 8, get() + b"GET /ping HTTP/1.1\r\n", b"X-A: " + b"a" * 60_000 + b"\r\n"
    ),
    "B11 charset=punycode": lambda port: ask(
        port, 4, [post(b"a-" + b"b" * 50_000, kind="text/csv; charset=punycode")]
    ),
    "B11 upgrades": lambda port: push(
        port, 500, begun(60_000, b"a", "Connection: Upgrade", "Upgrade: x")
    ),
    "chunk extensions without end": lambda port: push(
        port, 1, chunked(ending=b"1;"), b"a" * 65_536
    ),
    "chunks of a byte": lambda port: push(port, 1, chunked(ending=b""), b"1\r\n0\r\n" * 5000),
    "chunks without end": lambda port: push(
        port, 8, chunked(ending=b""), b"100000\r\n" + MEGABYTE + b"\r\n"
    ),
}


def _leave(port: int, request: bytes) -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as line:
            line.sendall(request)


def _churn(port: int) -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as line:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            line.sendall(post(IMAGE)[:-5])


def main() -> None:
    """Run one."""
    name, port = sys.argv[1:]
    FLOODS[name](int(port))


if __name__ == "__main__":
    main()
