"""Requests on the wire: each gets its own answer, in their order, however its bytes come."""

import io
import json
import re
from collections.abc import Iterator

import numpy as np
import pytest

from tests.support.tiny_model import TinyModel
from tests.support.wire import Served, answer, body, post, serving, status

NPY, CSV = "application/x-npy", "text/csv"
IMAGE = np.arange(784).reshape(1, 28, 28) % 256
ROWS = json.dumps(IMAGE.tolist()).encode()
ALIAS = "/endpoints/tiny/invocations"
INFER = "/v2/models/tiny/infer"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    model = TinyModel.random().write(tmp_path_factory.mktemp("small") / "model")
    with serving(model, "--log-json") as served:
        yield served


def npy(count: int) -> bytes:
    file = io.BytesIO()
    np.save(file, np.repeat(IMAGE, count, axis=0).astype(np.uint8))
    return file.getvalue()


def tensor() -> bytes:
    tensor = {"name": "image", "datatype": "FP32", "shape": [1, 1, 28, 28]}
    return json.dumps({"id": "7", "inputs": [{**tensor, "data": IMAGE.ravel().tolist()}]}).encode()


def in_chunks(request: bytes) -> bytes:
    """The same request, whose length nobody knows beforehand."""
    head, _, content = request.partition(b"\r\n\r\n")
    head = re.sub(rb"Content-Length: \d+", b"Transfer-Encoding: chunked", head)
    chunk = b"%x\r\n%b\r\n" % (len(content), content) if content else b""
    return b"%b\r\n\r\n%b0\r\n\r\n" % (head, chunk)


def compared(reply: bytes) -> tuple[list[bytes], bytes]:
    """Give the parts of a reply that do not differ from one to the next."""
    head, _, content = reply.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    kept = [line for line in lines if not line.startswith((b"date:", b"x-request-id:"))]
    return [first, *sorted(kept)], content


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (post(ROWS), 200),
        (post(npy(1), kind=NPY), 200),
        (post(npy(20), "Accept: text/csv", kind=NPY), 200),
        (post(b",".join(b"%d" % x for x in IMAGE.ravel()), f"Accept: {NPY}", kind=CSV), 200),
        (post(ROWS, "X-Amzn-SageMaker-Custom-Attributes: trace=7"), 200),
        (post(ROWS, path="/predict"), 200),
        (post(ROWS, path="/predict?with_input=true"), 200),
        (post(ROWS, path=ALIAS), 200),
        (post(tensor(), path=INFER), 200),
        (post(b""), 400),
        (post(b"[[1, 2"), 400),
        (post(b"[[1, 2]]", path=ALIAS), 424),
        (post(ROWS, path="/endpoints/another/invocations"), 400),
        (post(ROWS, path="/v2/models/another/infer"), 404),
        (post(ROWS, "Sec-Fetch-Site: cross-site"), 403),
        (post(ROWS, "Accept: image/png"), 406),
        (post(ROWS, kind="text/html"), 415),
        (post(ROWS, "Content-Encoding: br"), 415),
        (post(ROWS).replace(b"localhost", b"elsewhere"), 421),
        (post(b"[[1, 2]]"), 422),
    ],
    ids=lambda value: None if isinstance(value, bytes) else str(value),
)
def test_a_body_in_chunks_is_answered_as_one_of_known_length(
    served: Served, request_: bytes, code: int
) -> None:
    whole, other = served.exchange(request_), served.exchange(in_chunks(request_))
    assert status(whole) == code
    assert compared(whole) == compared(other)


def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    counts = [1, 3, 2, 20, 1]
    requests = [post(npy(count), kind=NPY) for count in counts]
    with served.connect() as line:
        line.sendall(b"".join([*requests, post(b"{"), post(npy(4), kind=NPY)]))
        came = b""
        while came.count(b"HTTP/1.1") < 7 or not came.endswith(b"]"):
            came += line.recv(65536)
    replies = [b"HTTP/1.1" + part for part in came.split(b"HTTP/1.1")[1:]]
    assert [status(reply) for reply in replies] == [*[200] * 5, 400, 200]
    good = [reply for reply in replies if status(reply) == 200]
    assert [len(json.loads(body(reply))) for reply in good] == [*counts, 4]


def test_a_body_that_comes_in_pieces_is_one_request(served: Served) -> None:
    request = post(ROWS)
    with served.connect() as line:
        for start in range(0, len(request), 1000):
            line.sendall(request[start : start + 1000])
        assert status(answer(line)) == 200


@pytest.mark.parametrize(
    "request_",
    [post(ROWS, "Connection: close"), post(ROWS).replace(b"HTTP/1.1", b"HTTP/1.0")],
    ids=["requested", "of the old version"],
)
def test_a_connection_that_is_to_close_says_so_and_closes(served: Served, request_: bytes) -> None:
    with served.connect() as line:
        line.sendall(request_)
        reply = answer(line)
        assert status(reply) == 200
        assert b"\r\nconnection: close\r\n" in reply
        assert line.recv(1) == b""


def test_requests_of_one_connection_have_ids_and_answers_of_their_own(served: Served) -> None:
    counts = (1, 2, 3)
    with served.connect() as line:
        replies = []
        for count in counts:
            line.sendall(post(npy(count), kind=NPY))
            replies.append(answer(line))
    assert [len(json.loads(body(reply))) for reply in replies] == [*counts]
    ids = {reply.partition(b"x-request-id: ")[2].partition(b"\r\n")[0] for reply in replies}
    assert len(ids) == 3


@pytest.mark.parametrize("path", ["/ping", "/healthz", "/livez", "/readyz", "/", "/model", "/docs"])
def test_head_is_answered_as_get_without_the_body(served: Served, path: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    replies = []
    for method in (b"GET", b"HEAD"):
        with served.connect() as line, line.makefile("rb") as reader:
            line.sendall(request.replace(b"GET", method))
            replies.append(reader.read())
    assert [status(reply) for reply in replies] == [200, 200]
    assert compared(replies[1]) == (compared(replies[0])[0], b"")


def test_requests_are_counted_and_logged(served: Served) -> None:
    served.exchange(post(ROWS, "X-Request-Id: one-of-ours", path="/predict"))
    assert served.process.stderr is not None
    for line in served.process.stderr:
        entry = json.loads(line)
        if entry["id"] == "one-of-ours":
            break
    assert (entry["path"], entry["status"]) == ("/predict", 200)
    metrics = served.exchange(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").decode()
    assert "tuneport_active_requests 1.0" in metrics
    assert 'tuneport_requests_total{route="/predict",status="200"}' in metrics
