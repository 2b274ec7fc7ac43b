"""A request's head that comes again: the same bytes mean the same, and are not read again.

A client sends one head with most of its requests, as do many clients of one kind, and reading it
costs as much as a small network.
"""

import hmac
from dataclasses import dataclass, replace
from typing import Self

from starlette.types import Scope

from serve.http.inference import ModelRoute

MOST_BYTES = 2048
"""Of a head that is kept, for as long as its connection is open."""
_Address = tuple[str, int | None] | None
_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a small request, and what it means."""

    text: bytes
    size: int
    """Bytes of the whole request."""
    scope: Scope
    route: ModelRoute

    @classmethod
    def of(cls, whole: bytes, scope: Scope, route: ModelRoute, body: int) -> Self | None:
        """The head of these bytes, if they are one request, with a body of that size."""
        text = whole[: whole.find(_END) + len(_END)]
        lines = text.count(b"\r\n")
        # Where a line may end otherwise, a head may end elsewhere than here.
        is_plain = text.count(b"\r") == text.count(b"\n") == lines
        if len(text) + body != len(whole) or len(text) > MOST_BYTES or not is_plain:
            return None
        return cls(text, len(whole), scope, route)

    def on(self, client: _Address, server: _Address) -> Self:
        """The same head, on a connection between these two."""
        return replace(self, scope={**self.scope, "client": client, "server": server})

    def body_of(self, whole: bytes) -> bytes | None:
        """The body of these bytes, if they are a request that begins so."""
        length = len(self.text)
        # In constant time: the head that another one sent may hold its key.
        if len(whole) != self.size or not hmac.compare_digest(whole[:length], self.text):
            return None
        return whole[length:]
