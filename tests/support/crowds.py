"""Many requests at once."""

import asyncio
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.support.wire import post

INFER = "/v2/models/tiny/infer"


Floats = NDArray[np.float32]


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
