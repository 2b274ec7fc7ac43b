"""Request bodies, how they are read, and the limits on their size and on requests in work."""

from typing import NoReturn

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from serve.errors import OverloadedError, TooLargeError
from serve.http.headers import read_headers
from serve.settings import MAX_BODY_BYTES, Shares

INLINE_BYTES = 64 * 1024
"""Bodies up to this size are decoded on the event loop, larger ones in a thread."""
BLOCK_BYTES = 1024 * 1024
"""Parts are joined when they have more: freed parts leave holes in memory, large blocks do not."""
MAX_DRAINED_BYTES = 32 * 1024 * 1024
"""How much of a body too large is still read, and dropped, so that its sender reads the reply."""


class RequestLimiter:
    """Number of requests that have come and are not answered; one client may have half."""

    def __init__(self, max_requests: int) -> None:
        self._requests = Shares(max_requests)

    def slot(self, scope: Scope) -> "_Slot":
        """Count a request within the block; raises OverloadedError if there are too many."""
        return _Slot(self, _find_client(scope))

    def check(self, scope: Scope) -> None:
        """Raise OverloadedError if the client may have no more requests, whatever its body is."""
        # A client that waits for 100 Continue may send no body after a refusal.
        if b"expect" not in read_headers(scope):
            self._check_client(_find_client(scope))

    def enter(self, client: str) -> None:
        """Count a request; raises OverloadedError if there are too many."""
        self._check_client(client)
        self._requests.add(client)

    def _check_client(self, client: str) -> None:
        requests = self._requests
        if requests.total >= requests.most:
            raise OverloadedError(f"{requests.most} requests are being answered already; ask again")
        if requests.of(client) >= requests.most_of_one:
            raise OverloadedError(
                f"{requests.most_of_one} requests of this address are being answered already; "
                "ask again"
            )

    def leave(self, client: str) -> None:
        """Count a request no longer."""
        self._requests.add(client, -1)


def _find_client(scope: Scope) -> str:
    return scope["client"][0] if scope.get("client") else ""


class _Slot:
    """Place of a request; a generator as context manager would take four times as long."""

    __slots__ = ("_client", "_limiter")

    def __init__(self, limiter: RequestLimiter, client: str) -> None:
        self._limiter = limiter
        self._client = client

    def __enter__(self) -> None:
        self._limiter.enter(self._client)

    def __exit__(self, *error: object) -> None:
        self._limiter.leave(self._client)


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
    parts, joined, received, more = list[bytes](), 0, 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part, more = message.get("body", b""), message.get("more_body", False)
        received += len(part)
        if received > MAX_BODY_BYTES:
            await _refuse(receive, "more", max_drained=MAX_DRAINED_BYTES - received if more else 0)
        parts.append(part)
        if received - joined > BLOCK_BYTES:
            parts, joined = [b"".join(parts)], received
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _refuse(receive: Receive, size: str, *, max_drained: int) -> NoReturn:
    # Closing on a client that still writes would reset the connection under the reply.
    left = max_drained
    while left > 0:
        message = await receive()
        left = left - len(message.get("body", b"")) if message.get("more_body", False) else 0
    raise TooLargeError(f"the body may have at most {MAX_BODY_BYTES} bytes, got {size}")
