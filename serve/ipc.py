"""What a server and the process of its model say to each other: JSON and bytes, never a pickle."""

import errno
import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_LENGTHS = struct.Struct(">IQ")
_GONE = {errno.ENOTCONN, errno.EBADF}


@dataclass(frozen=True)
class Message:
    """A few named values, and a body of any length."""

    values: Mapping[str, Any]
    body: bytes = b""


class Channel:
    """One end of a pair of sockets, over which messages go one at a time."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line

    def send(self, message: Message) -> None:
        """Send a message, whole; an `OSError` where the other end is gone."""
        values = json.dumps(message.values).encode()
        self._line.sendall(_LENGTHS.pack(len(values), len(message.body)) + values)
        # Who has read an empty body already may have closed by now.
        if message.body:
            self._line.sendall(message.body)

    def receive(self, within_s: float | None = None) -> Message:
        """The next message; `EOFError` where the other end is gone, `TimeoutError` when late."""
        self._line.settimeout(within_s)
        values, body = _LENGTHS.unpack(self._exactly(_LENGTHS.size))
        return Message(json.loads(self._exactly(values)), self._exactly(body))

    def hang_up(self) -> None:
        """Let the other end, and whoever waits on this one, know that nothing more will come."""
        try:
            self._line.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            if error.errno not in _GONE:
                raise

    def close(self) -> None:
        """Give the socket back."""
        self._line.close()

    def _exactly(self, length: int) -> bytes:
        content = bytearray(length)
        rest = memoryview(content)
        while rest:
            count = self._line.recv_into(rest)
            if count == 0:
                raise EOFError("the other end is gone")
            rest = rest[count:]
        return bytes(content)
