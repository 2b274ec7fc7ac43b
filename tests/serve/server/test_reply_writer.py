"""Writes of a reply, joined to one, and none held for longer than a turn of the event loop."""

import asyncio
from collections.abc import Callable

import pytest

from serve.server.reply_writer import ReplyWriter


class Wire(asyncio.Transport):
    """Notes what is sent, one entry for a system call."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[object] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent.append(bytes(data))

    def write_eof(self) -> None:
        self.sent.append("end")

    def close(self) -> None:
        self.sent.append("closed")

    def abort(self) -> None:
        self.sent.append("aborted")

    def is_closing(self) -> bool:
        return bool({"closed", "aborted"}.intersection(map(str, self.sent)))


def sent_by(write: Callable[[ReplyWriter], None], turns: int = 0) -> list[object]:
    """Write on a connection; give what was sent within so many turns of the event loop."""

    async def run() -> list[object]:
        wire = Wire()
        write(ReplyWriter(wire, asyncio.get_running_loop()))
        for _ in range(turns):
            await asyncio.sleep(0)
        return list(wire.sent)

    return asyncio.run(run())


def test_a_head_and_its_body_are_sent_together() -> None:
    def write(writer: ReplyWriter) -> None:
        writer.write(b"head ")
        writer.write(b"body")

    assert sent_by(write) == sent_by(write, turns=2) == [b"head body"]


def test_a_head_alone_is_sent_in_the_next_turn() -> None:
    assert sent_by(lambda writer: writer.write(b"head")) == []
    assert sent_by(lambda writer: writer.write(b"head"), turns=1) == [b"head"]


@pytest.mark.parametrize(("method", "last"), [("close", "closed"), ("write_eof", "end")])
def test_what_is_held_is_sent_before_the_end(method: str, last: str) -> None:
    def write(writer: ReplyWriter) -> None:
        writer.write(b"head")
        getattr(writer, method)()

    assert sent_by(write, turns=2) == [b"head", last]


def test_nothing_is_sent_once_the_connection_is_aborted() -> None:
    def write(writer: ReplyWriter) -> None:
        writer.write(b"head")
        writer.abort()

    assert sent_by(write, turns=2) == ["aborted"]
