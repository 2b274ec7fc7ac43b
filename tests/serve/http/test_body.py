"""Limits on the size of bodies, and what of them is left in memory."""

import asyncio
import gc
import tracemalloc

import pytest
from anyio import to_thread
from starlette.testclient import TestClient
from starlette.types import Message

from serve.http.app import create_app
from serve.rollout.registry import Registry
from serve.runtime.onnx_backend import OnnxBackend
from serve.settings import MAX_BODY_BYTES
from tests.support.fake_model import JSON, Fake


@pytest.mark.parametrize("path", ["/invocations", "/predict", "/endpoints/digits/invocations"])
def test_a_body_too_large_is_refused_declared_or_not(client: TestClient, path: str) -> None:
    headers = {"content-type": JSON}
    for content in (b"0" * (MAX_BODY_BYTES + 1), iter([b"0" * 2**20] * 7)):
        reply = client.post(path, content=content, headers=headers)
        assert reply.status_code == 413
        assert f"at most {MAX_BODY_BYTES} bytes" in reply.text
        assert reply.headers["connection"] == "close"


def test_a_body_of_exactly_the_limit_is_read(client: TestClient) -> None:
    body = b" " * (MAX_BODY_BYTES - 1) + b"1"
    reply = client.post("/invocations", content=body, headers={"content-type": JSON})
    assert reply.status_code == 422


SCOPE = {
    "type": "http",
    "method": "POST",
    "path": "/invocations",
    "query_string": b"",
    "headers": [(b"host", b"127.0.0.1"), (b"content-type", JSON.encode())],
    "client": ("127.0.0.1", 1),
}


async def refuse_many(body: bytes, count: int) -> int:
    """Send a body that is refused some times; give the bytes that the last ones left behind."""
    app = create_app(Registry(OnnxBackend(Fake())))
    statuses = []

    async def receive() -> Message:
        return {"type": "http.request", "body": bytes(bytearray(body)), "more_body": False}

    async def send(message: Message) -> None:
        statuses.append(message.get("status"))

    before = 0
    for number in range(count):
        await app(dict(SCOPE), receive, send)
        await to_thread.run_sync(int)  # The thread that decoded the body lets go of it first.
        if number == 0:
            before = tracemalloc.get_traced_memory()[0]
    assert statuses[::2] == [422] * count
    return tracemalloc.get_traced_memory()[0] - before


def test_a_refused_body_is_not_left_to_the_collector() -> None:
    body = b"[" + b"0," * 100_000 + b"0]"
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        assert asyncio.run(refuse_many(body, 5)) < len(body)
    finally:
        tracemalloc.stop()
        gc.enable()


def test_a_large_body_whose_client_is_gone_is_not_decoded() -> None:
    model = Fake()
    messages: list[Message] = [
        {"type": "http.request", "body": b"[" + b"0," * 100_000 + b"0]", "more_body": False},
        {"type": "http.disconnect"},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    app = create_app(Registry(OnnxBackend(model)))
    asyncio.run(app(dict(SCOPE), receive, send))
    assert sent[0]["status"] == 400
    assert b"ended before its length" in sent[1]["body"]
