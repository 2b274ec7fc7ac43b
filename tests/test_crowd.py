"""Many at once: each gets its own answer, and what is too much is sent away and not kept."""

import asyncio
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.tiny_model import TinyModel
from tests.wire import Served, post, serving

CONNECTIONS = 64
REQUESTS = 10_000
INFER = "/v2/models/tiny/infer"
Floats = NDArray[np.float32]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return TinyModel.random().write(tmp_path_factory.mktemp("crowd") / "model")


def npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def tensors(image: NDArray[np.uint8]) -> bytes:
    data = image.ravel().tolist()
    tensor = {"name": "image", "datatype": "FP32", "shape": [1, 1, 28, 28], "data": data}
    return json.dumps({"inputs": [tensor]}).encode()


def predictions(body: bytes) -> Floats:
    found = json.loads(body)["predictions"][0]["probabilities"]
    return np.asarray(np.log(found), np.float32)


FORMATS: dict[str, tuple[Callable[[NDArray[np.uint8]], bytes], Callable[[bytes], Any]]] = {
    "bytes": (lambda image: post(npy(image), kind="application/x-npy"), json.loads),
    "floats in NPY": (
        lambda image: post(
            npy(image.astype(np.float32)), "Accept: application/x-npy", kind="application/x-npy"
        ),
        lambda body: np.load(io.BytesIO(body), allow_pickle=False),
    ),
    "whole numbers in JSON": (lambda image: post(json.dumps(image.tolist()).encode()), json.loads),
    "fractions in JSON": (
        lambda image: post(json.dumps((image / 255).tolist()).encode()), json.loads,
    ),
    "CSV": (
        lambda image: post(
            ",".join(map(str, image.ravel())).encode(), "Accept: text/csv", kind="text/csv"
        ),
        lambda body: [float(cell) for cell in body.split(b",")],
    ),
    "labels": (
        lambda image: post(
            json.dumps({"instances": [image.tolist()]}).encode(), path="/predict"
        ),
        predictions,
    ),
    "tensors": (
        lambda image: post(tensors(image), path=INFER),
        lambda body: json.loads(body)["outputs"][0]["data"],
    ),
    "the alias": (
        lambda image: post(json.dumps(image.tolist()).encode(), path="/endpoints/tiny/invocations"),
        json.loads,
    ),
}  # fmt: skip


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> Any:
    """The status and body of the answer to one request."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.splitlines()[1:-1])
    return int(head[9:12]), fields, await reader.readexactly(int(fields[b"content-length"]))


async def crowd(port: int, requests: list[bytes], connections: int) -> list[Any]:
    """The answers to all requests, sent over so many connections at once."""
    answers: list[Any] = [None] * len(requests)
    waiting = iter(enumerate(requests))

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for at, request in waiting:
            answers[at] = await ask(reader, writer, request)
        writer.close()

    await asyncio.gather(*(client() for _ in range(connections)))
    return answers


def test_ten_thousand_in_mixed_formats_each_get_their_own_answer(model: Path) -> None:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (REQUESTS, 28, 28)).astype(np.uint8)
    kinds = generator.choice(list(FORMATS), REQUESTS)
    requests = [FORMATS[kind][0](image) for kind, image in zip(kinds, images, strict=True)]
    with serving(model) as served:
        answers = asyncio.run(crowd(served.port, requests, CONNECTIONS))
    assert Counter(status for status, _, _ in answers) == {200: REQUESTS}
    read = [FORMATS[kind][1](body) for kind, (_, _, body) in zip(kinds, answers, strict=True)]
    found = np.array([np.reshape(one, 10) for one in read])
    expected = TinyModel.random().outputs(images[:, None].astype(np.float32))
    assert np.allclose(found, expected, atol=1e-3)


@pytest.fixture
def narrow(model: Path) -> Iterator[Served]:
    with serving(model, "--max-requests", "4") as served:
        yield served


def test_more_than_is_worked_on_is_sent_away_and_told_when_to_come_back(narrow: Served) -> None:
    images = np.zeros((500, 784), np.uint8)  # It takes a thread, so that requests meet.
    requests = [post(npy(images), kind="application/x-npy")] * 300
    alias = post(npy(images), kind="application/x-npy", path="/endpoints/tiny/invocations")
    answers = asyncio.run(crowd(narrow.port, [*requests, *[alias] * 300], 32))
    counts = Counter(status for status, _, _ in answers)
    assert set(counts) == {200, 503}
    for at, (status, fields, body) in enumerate(answers):
        if status == 503:
            assert fields[b"retry-after"] == b"1"
            assert set(json.loads(body)) == {"error" if at < 300 else "Message"}
        else:
            assert len(json.loads(body)) == 500
    metrics = narrow.exchange(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").decode()
    assert 'tuneport_requests_total{route="/invocations",status="503"}' in metrics
    assert "tuneport_active_requests 1.0" in metrics
