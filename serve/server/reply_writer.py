"""Transport that sends a reply's head together with its body: a system call costs 10 us."""

import asyncio


class ReplyWriter(asyncio.Transport):
    """Holds what is written back until more is, but no longer than one turn of the event loop.

    Uvicorn writes the head of a reply and its body one after the other.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._held = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send the data with what is held, or hold it."""
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held + data)
        elif data:
            self._held = bytes(data)
            self._loop.call_soon(self._flush)

    def is_closing(self) -> bool:
        """Whether the connection is closed, or will be."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Close the connection once everything is sent."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Close the connection at once, whatever is held."""
        self._held = b""
        self._transport.abort()

    def write_eof(self) -> None:
        """Send everything, and end the stream."""
        self._flush()
        self._transport.write_eof()

    def _flush(self) -> None:
        held, self._held = self._held, b""
        if held and not self._transport.is_closing():  # The client may be gone.
            self._transport.write(held)
