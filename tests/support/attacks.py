"""Attacks on a server, each with its answer."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.support.wire import post

NPY, CSV, PNG = "application/x-npy", "text/csv", "image/png"


Attack = bytes | list[bytes]


def get(path: str = "/ping", *headers: str, method: str = "GET") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def chunked(*chunks: bytes, ending: bytes = b"0\r\n\r\n") -> bytes:
    head = post(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + ending


def npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def headed(text: str, data: bytes = b"", version: int = 1) -> bytes:
    header = text.encode("latin-1")
    size = len(header).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + size + header + data


def shaped(descr: str, shape: str, data: bytes = b"") -> bytes:
    return headed(f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}", data)


def png(width: int, height: int, data: bytes, *, depth: int = 8, extra: bytes = b"") -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + crc

    head = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    idat = chunk(b"IDAT", zlib.compress(data, 9))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + idat + chunk(b"IEND", b"")


def drawing(content: bytes) -> bytes:
    return post(content, path="/predict", kind=PNG)


BIG = 10 * 2**30


MEGABYTE = b"0" * 2**20


ENDLESS = b"100000\r\n" + MEGABYTE + b"\r\n"


PIXELS = npy(np.zeros((28, 28), np.uint8))


INFER = "/v2/models/tiny/infer"


ATTACKS: dict[str, tuple[Attack, int]] = {
    # Bodies
    "10 GB are declared": (post(length=BIG), 413),
    "20 MB are declared and sent": ([post(length=20 * 2**20), *[MEGABYTE] * 20], 413),
    "chunks without an end": ([chunked(ending=b""), *[ENDLESS] * 40], 413),
    "chunks of a byte": (chunked(*[b" "] * 200_000, b"x"), 400),
    "less than declared": (post(b"[1]", length=100), 408),
    "a length that is none": (post(length=-1), 400),
    "two lengths": (post(b"[1]", "Content-Length: 7"), 400),
    "a length and chunks": (post(b"[1]", "Transfer-Encoding: chunked"), 400),
    "a header that is folded": (get("/ping", "X-A: b", " folded"), 400),
    "a trailer of 1 MB": (chunked(b"[1]", ending=b"0\r\nX-A: " + b"a" * 2**20), 431),
    "102 trailers": (chunked(b"[1]", ending=b"0\r\n" + b"X-A: a\r\n" * 102), 431),
    "a chunk extension of 40 KB": (chunked(ending=b"1;" + b"a" * 40_000), 431),
    "a chunk that is none": (chunked(ending=b"zz\r\n"), 400),
    "half a gzip": (post(b"\x1f\x8b", "Content-Encoding: gzip"), 400),
    "a body that is compressed by Brotli": (post(b"a", "Content-Encoding: br"), 415),
    "nothing": (post(b""), 400),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00" * 9, 400),
    "HTTP of another time": (b"GET / HTTP/9.9\r\n\r\n", 400),
    # Time
    "half a line": (b"POST /invo", 408),
    "half a head": (b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nX-A", 408),
    "half a body": (post(b"[1, 2", length=20), 408),
    # Heads
    "a header of 8 MB": ([b"GET /ping HTTP/1.1\r\nX-A: ", *[b"a" * 2**20] * 8, b"\r\n\r\n"], 431),
    "50,000 headers": (get("/ping", *(f"X-{i}: a" for i in range(50_000))), 431),
    "101 short headers": (get("/ping", *(f"X-{i}: a" for i in range(101))), 431),
    "a path of 1 MB": (get("/" + "a" * 2**20), 431),
    "a query of 1 MB": (get("/ping?" + "a" * 2**20), 431),
    "no host": (b"GET /ping HTTP/1.1\r\n\r\n", 400),
    "no host in HTTP/1.0": (b"GET /model HTTP/1.0\r\n\r\n", 400),
    "two hosts": (get("/ping", "Host: localhost"), 400),
    "an empty host": (b"GET /ping HTTP/1.1\r\nHost:\r\n\r\n", 421),
    "another host": (b"GET /ping HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
    "a host with a user": (b"GET /ping HTTP/1.1\r\nHost: localhost@evil.example\r\n\r\n", 421),
    "a host with a path": (b"GET /ping HTTP/1.1\r\nHost: localhost/a\r\n\r\n", 421),
    "a forwarded host": (
        b"GET /ping HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: localhost\r\n\r\n", 421,
    ),
    "a line feed in a header": (get("/ping", "X-A: b\x00c"), 400),
    "Accept of 2,000 entries": (post(b"[1]", "Accept: " + ",".join(["a/b;q=0"] * 2000)), 406),
    "Accept of junk": (post(b"[1]", "Accept: ;;,,q=,/"), 406),
    "two content types": (post(b"[1]", "Content-Type: text/csv"), 415),
    "a type beyond ASCII": (post(b"[1]", kind="caf\xe9"), 415),
    "no type": (post(b"[1]").replace(b"Content-Type: application/json\r\n", b""), 415),
    "TRACE": (get("/invocations", method="TRACE"), 405),
    "OPTIONS": (get("/invocations", method="OPTIONS"), 405),
    "HEAD": (get("/invocations", method="HEAD") + get("/nothing"), 405),
    "a method that is overridden": (get("/invocations", "X-HTTP-Method-Override: POST"), 405),
    "CONNECT": (b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "a path upwards": (get("/../../etc/passwd"), 404),
    "a path upwards in disguise": (get("/docs/%2e%2e%2f%2e%2e%2fetc/passwd"), 404),
    # NPY
    "a pickle": (post(b"\x80\x04K\x01.", kind=NPY), 400),
    "an array of objects": (post(npy(np.array([{}, 1], object)), kind=NPY), 400),
    "a trillion numbers": (post(shaped("<f8", "(1000000000000,)"), kind=NPY), 400),
    "a trillion of nothing": (post(shaped("|V0", "(1000000000000,)"), kind=NPY), 400),
    "no image, a trillion wide": (post(shaped("<f4", "(0, 999999999)"), kind=NPY), 400),
    "a size of 2^63": (post(shaped("|u1", f"({2**63},)"), kind=NPY), 400),
    "a size that is true": (post(shaped("|u1", "(True,)"), kind=NPY), 400),
    "9 KB of brackets": (post(headed("(" * 9000), kind=NPY), 400),
    "NPY of version 3": (post(headed("{}", version=3), kind=NPY), 400),
    "a zip file": (post(b"PK\x03\x04" + bytes(100), kind=NPY), 400),
    "complex numbers": (post(npy(np.zeros((28, 28), np.complex64)), kind=NPY), 400),
    "a byte short": (post(PIXELS[:-1], kind=NPY), 400),
    "a byte long": (post(PIXELS + b"\0", kind=NPY), 400),
    "NaN in NPY": (post(npy(np.full((28, 28), np.nan)), kind=NPY), 422),
    "infinity in NPY": (post(npy(np.full((28, 28), -np.inf)), kind=NPY), 422),
    "values of no scale": (post(npy(np.full((28, 28), 1e30)), kind=NPY), 422),
    # JSON and CSV
    "NaN in JSON": (post(b"[NaN]"), 422),
    "a number too large": (post(b"[" + b"1e999," * 783 + b"1]"), 422),
    "100,000 brackets": (post(b"[" * 100_000), 400),
    "a number of 100,000 digits": (post(b"[" + b"9" * 100_000 + b"]"), 422),
    "instances twice": (post(b'{"instances": [1], "instances": [2]}'), 400),
    "rows of different lengths": (post(b"[[1, 2], [3]]"), 422),
    "text in JSON": (post(b'["1"]'), 400),
    "true in JSON": (post(b"[" + b"true," * 783 + b"true]"), 400),
    "half a letter": (post(b'["\\ud800"]'), 400),
    "UTF-16": (post("[1]".encode("utf-16")), 400),
    "a comma at the end": (post(b"[1,]"), 400),
    "a million numbers": (post(b"[" + b"0," * 999_999 + b"0]"), 422),
    "a header row": (post(b"a,b\n1,2", kind=CSV), 400),
    "785 columns": (post(b",".join([b"0"] * 785), kind=CSV), 422),
    "quotes in CSV": (post(b'"1","2"', kind=CSV), 400),
    "hexadecimal": (post(b"0x10" + b",0" * 783, kind=CSV), 400),
    "half a number": (post(b"1e" + b",0" * 783, kind=CSV), 400),
    "infinity in CSV": (post(b"inf" + b",0" * 783, kind=CSV), 422),
    "100,000 lines": (post(b"1,2\n" * 100_000, kind=CSV), 422),
    # Images
    "13,000 by 13,000 pixels": (drawing(png(13_000, 13_000, bytes(1000))), 422),
    "a text of 50 MB in an image": (
        drawing(png(28, 28, bytes(29 * 28), extra=b"\x00\x00\x00\x04zTXt" + bytes(8))), 422,
    ),
    "an image cut off": (drawing(png(28, 28, bytes(29 * 28))[:-30]), 400),
    "a JPEG": (drawing(b"\xff\xd8\xff\xe0" + bytes(100)), 400),
    "an SVG": (drawing(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), 400),
    "an image of one colour": (drawing(png(50, 50, bytes(51 * 50))), 422),
    # The Open Inference Protocol
    "tensors of another name": (post(b'{"inputs": [{"name": "x"}]}', path=INFER), 400),
    "a version upwards": (post(b"{}", path="/v2/models/tiny/versions/..%2f1/infer"), 404),
    "a name of 1,000 letters": (post(b"{}", path=f"/v2/models/{'a' * 1000}/infer"), 404),
    "a name with a zero": (post(b"{}", path="/v2/models/a%00/infer"), 404),
    # Browsers
    "a form of another site": (
        post(b"a=1", "Origin: http://evil.example", kind="application/x-www-form-urlencoded"), 403,
    ),
    "text of another site": (post(b"[1]", "Sec-Fetch-Site: cross-site", kind="text/plain"), 403),
    "an origin that is none": (post(b"[1]", "Origin: http://[::1"), 403),
    "a preflight": (get("/invocations", "Origin: http://evil.example", method="OPTIONS"), 403),
}  # fmt: skip
