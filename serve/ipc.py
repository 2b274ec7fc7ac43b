"""Messages between a server and its child processes: JSON values and bytes, never a pickle."""

import errno
import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_LENGTHS = struct.Struct(">IQ")
_CLOSED = {errno.ENOTCONN, errno.EBADF}


@dataclass(frozen=True)
class Message:
    """Named values, and a body of any length."""

    values: Mapping[str, Any]
    body: bytes = b""


class Channel:
    """One end of a socket pair that carries one message at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def send(self, message: Message) -> None:
        """Send a whole message; raises OSError if the other end is gone."""
        values = json.dumps(message.values).encode()
        self._socket.sendall(_LENGTHS.pack(len(values), len(message.body)) + values)
        # After an empty body, the other end may have closed by now.
        if message.body:
            self._socket.sendall(message.body)

    def receive(self, timeout_s: float | None = None) -> Message:
        """Receive a message; raises EOFError if the other end is gone, TimeoutError if late."""
        self._socket.settimeout(timeout_s)
        values, body = _LENGTHS.unpack(self._receive_exactly(_LENGTHS.size))
        return Message(json.loads(self._receive_exactly(values)), self._receive_exactly(body))

    def hang_up(self) -> None:
        """End the connection, which wakes both ends if they wait for a message."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            if error.errno not in _CLOSED:
                raise

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _receive_exactly(self, length: int) -> bytes:
        content = bytearray(length)
        remaining = memoryview(content)
        while remaining:
            count = self._socket.recv_into(remaining)
            if count == 0:
                raise EOFError("the other end is gone")
            remaining = remaining[count:]
        return bytes(content)
