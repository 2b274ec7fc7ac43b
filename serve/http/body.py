"""Request bodies: limits on their size and number, and how they are read."""

from contextlib import AbstractContextManager, nullcontext
from typing import NoReturn, Self

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from serve.errors import OverloadedError, TooLargeError
from serve.http.headers import Headers, read_headers

MAX_BODY_BYTES = 6 * 1024 * 1024
"""Largest body; SageMaker's own limit."""
INLINE_BYTES = 64 * 1024
"""Bodies up to this size are decoded on the event loop, larger ones in a thread."""
MAX_LARGE_BODIES = 8
"""Large bodies in memory at once, those that wait for a thread included."""
MAX_DRAINED_BYTES = 32 * 1024 * 1024
"""How much of a body too large is still read, and dropped, so that its sender reads the reply."""


class RequestLimiter:
    """Number of requests in one stage; entering it raises OverloadedError if it is full."""

    def __init__(self, limit: int, sentence: str) -> None:
        self._limit = limit
        self._sentence = sentence
        self._count = 0

    @classmethod
    def create(cls, max_requests: int) -> Self:
        """Create the limiter of the requests whose body has come."""
        return cls(max_requests, f"{max_requests} requests are being answered already; ask again")

    def __enter__(self) -> None:
        if self._count >= self._limit:
            raise OverloadedError(self._sentence)
        self._count += 1

    def __exit__(self, *error: object) -> None:
        self._count -= 1


class LargeBodyLimiter:
    """Limiter of the large bodies in memory."""

    def __init__(self) -> None:
        sentence = f"{MAX_LARGE_BODIES} large bodies are being answered; ask again"
        self._slots = RequestLimiter(MAX_LARGE_BODIES, sentence)

    def slot(self, headers: Headers) -> AbstractContextManager[None]:
        """Return a slot for the request if its body may be large; for others, a context of none.

        Entering it raises OverloadedError if all `MAX_LARGE_BODIES` slots are taken.
        """
        return self._slots if may_be_large(headers) else nullcontext()


def may_be_large(headers: Headers) -> bool:
    """Whether the body may exceed `INLINE_BYTES`, once it is decompressed."""
    length = headers.get(b"content-length", b"")
    is_long = length.isdigit() and int(length) > INLINE_BYTES
    return is_long or b"transfer-encoding" in headers or b"content-encoding" in headers


def is_small(body: bytes) -> bool:
    """Whether a body of numbers takes so little time that it is decoded on the event loop."""
    return len(body) <= INLINE_BYTES


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
