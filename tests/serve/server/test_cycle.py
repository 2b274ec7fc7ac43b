"""Replies of a cycle: a head and its body are one write, and neither says what is not so."""

import asyncio
import logging

import pytest
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.server import ServerState

from serve.server.protocol import create_protocol
from serve.settings import ClientLimits

START: Message = {
    "type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]
}  # fmt: skip
HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"


class Wire(asyncio.Transport):
    """Notes what is sent, one entry for a system call."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 50_000)})  # as of who is still connected
        self.sent: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent.append(bytes(data))

    def pause_reading(self) -> None:
        """Nothing more comes by itself."""

    def close(self) -> None:
        self.sent.append(b"closed")

    def is_closing(self) -> bool:
        return b"closed" in self.sent


def part(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


def replying(*messages: Message) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


def sent_by(
    app: ASGIApp, request: bytes = b"GET / HTTP/1.1\r\n\r\n", turns: int = 5
) -> list[bytes]:
    """Give what is written for a request."""

    async def run() -> list[bytes]:
        http = create_protocol(ClientLimits(), lambda status, reason: ((), b""))
        config = uvicorn.Config(app, http=http, log_config=None)
        config.load()
        protocol, wire = http(config, ServerState(), {}), Wire()
        protocol.connection_made(wire)
        protocol.data_received(request)
        for _ in range(turns):
            await asyncio.sleep(0)
        protocol.connection_lost(None)
        return list(wire.sent)  # The end of the event loop cancels what still runs.

    return asyncio.run(run())


def test_a_head_and_its_body_are_sent_together() -> None:
    assert sent_by(replying(START, part(b"body"))) == [HEAD + b"body"]


def test_a_body_in_parts_is_sent_as_they_come() -> None:
    app = replying(START, part(b"bo", more=True), part(b"dy"))
    assert sent_by(app) == [HEAD + b"bo", b"dy"]


def test_a_body_of_unknown_length_is_sent_in_chunks() -> None:
    app = replying({**START, "headers": []}, part(b"body", more=True), part(b""))
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    assert sent_by(app) == [head + b"4\r\nbody\r\n", b"0\r\n\r\n"]


def test_a_reply_to_head_has_no_body() -> None:
    assert sent_by(replying(START, part(b"body")), b"HEAD / HTTP/1.1\r\n\r\n") == [HEAD]


def test_a_connection_that_is_to_close_says_so() -> None:
    sent = sent_by(replying(START, part(b"body")), b"GET / HTTP/1.0\r\n\r\n")
    assert sent == [HEAD[:-2] + b"connection: close\r\n\r\nbody", b"closed"]


@pytest.mark.parametrize(
    "messages",
    [
        [{**START, "headers": [(b"x-name", b"a\r\nx-other: b")]}, part(b"")],
        [{**START, "headers": [(b"x-name", b"a\0b")]}, part(b"")],
        [part(b"body")],
    ],
    ids=["a line's end in a header", "a zero in a header", "no head"],
)
def test_a_reply_that_would_be_another_is_an_error(
    messages: list[Message], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        (sent, *_) = sent_by(replying(*messages))
    assert b"x-other" not in sent
    assert sent.startswith((b"HTTP/1.1 500", b"closed"))
    assert "Exception in ASGI application" in caplog.text


@pytest.mark.parametrize("messages", [[part(b"bod")], [part(b"bodies")]], ids=["short", "long"])
def test_a_body_of_another_length_is_not_sent(
    messages: list[Message], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        assert sent_by(replying(START, *messages)) == [b"closed"]


def test_the_next_request_waits_until_the_application_returns() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await replying(START, part(b"body"))(scope, receive, send)
        await asyncio.sleep(60)

    assert sent_by(app, b"GET / HTTP/1.1\r\n\r\n" * 2) == [HEAD + b"body"]
