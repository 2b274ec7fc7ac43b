"""Output of workers on its way to the log: whole lines."""

import io
from typing import Any

from trainables.errors.trial_log import Lines


class Pieces(io.RawIOBase):
    """Notes each write."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self.written.append(bytes(content))
        return len(content)


def test_what_is_printed_at_once_is_written_at_once() -> None:
    pieces = Pieces()
    stream = Lines(io.BufferedWriter(pieces), encoding="utf-8")
    print("one", 1, file=stream)
    print("two\nlines", file=stream)
    print("not yet", end="", file=stream)
    assert pieces.written == [b"one 1\n", b"two\nlines\n"]
    stream.flush()
    assert pieces.written[2:] == [b"not yet"]
