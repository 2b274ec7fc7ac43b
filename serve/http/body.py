"""Request bodies: limits on their size and number, and how they are read."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from serve.errors import OverloadedError, TooLargeError
from serve.http.headers import Headers, read_headers

MAX_BODY_BYTES = 6 * 1024 * 1024
"""Largest body; SageMaker's own limit."""
INLINE_BYTES = 64 * 1024
"""Bodies up to this size are answered on the event loop, larger ones in a thread."""
MAX_LARGE_BODIES = 8
"""Large bodies in memory at once, those that wait for a thread included."""
MAX_DRAINED_BYTES = 32 * 1024 * 1024
"""How much of a body too large is still read, and dropped, so that its sender reads the reply."""


class LargeBodyLimiter:
    """Counter of the large bodies in memory."""

    def __init__(self) -> None:
        self._count = 0

    @contextmanager
    def slot(self, headers: Headers) -> Iterator[None]:
        """Take a slot for the request if its body may be large.

        Raises OverloadedError if all `MAX_LARGE_BODIES` slots are taken.
        """
        is_large = may_be_large(headers)
        if is_large and self._count >= MAX_LARGE_BODIES:
            raise OverloadedError(f"{MAX_LARGE_BODIES} large bodies are being answered; ask again")
        self._count += is_large
        try:
            yield
        finally:
            self._count -= is_large


def may_be_large(headers: Headers) -> bool:
    """Whether the body may exceed `INLINE_BYTES`."""
    length = headers.get(b"content-length", b"")
    return b"transfer-encoding" in headers or (length.isdigit() and int(length) > INLINE_BYTES)


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """Read the whole body.

    Raises TooLargeError if it exceeds `MAX_BODY_BYTES`, and Starlette's ClientDisconnect if it
    ends early.
    """
    declared = read_headers(scope).get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > MAX_BODY_BYTES:
        size = f"{declared.decode()} bytes"
        drained = MAX_DRAINED_BYTES if int(declared) <= MAX_DRAINED_BYTES else 0
        await _refuse(receive, size, max_drained=drained)
    parts, received, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part, more = message.get("body", b""), message.get("more_body", False)
        received += len(part)
        if received > MAX_BODY_BYTES:
            await _refuse(receive, "more", max_drained=MAX_DRAINED_BYTES - received if more else 0)
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _refuse(receive: Receive, size: str, *, max_drained: int) -> NoReturn:
    # Closing on a client that still writes would reset the connection under the reply.
    left = max_drained
    while left > 0:
        message = await receive()
        left = left - len(message.get("body", b"")) if message.get("more_body", False) else 0
    raise TooLargeError(f"the body may have at most {MAX_BODY_BYTES} bytes, got {size}")
