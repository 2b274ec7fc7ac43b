"""Cache of the last request head: the same bytes are not parsed again.

A client sends one head with most of its requests, as do many clients of one kind, and parsing it
costs as much as running a small network.
"""

import hmac
from dataclasses import dataclass, replace
from typing import Self

from starlette.types import Scope

from serve.server.responder import AnswerSmall

MAX_HEAD_BYTES = 2048
"""Largest head that is kept while its connection is open."""
_Address = tuple[str, int | None] | None
_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class CachedHead:
    """Head of a small request, with its parsed scope and the function that answers it."""

    content: bytes
    request_bytes: int
    """Size of the whole request."""
    scope: Scope
    answer: AnswerSmall

    @classmethod
    def parse(cls, data: bytes, scope: Scope, answer: AnswerSmall, body_bytes: int) -> Self | None:
        """Return the head of `data`, or None if it is not exactly one request with such a body."""
        content = data[: data.find(_END) + len(_END)]
        lines = content.count(b"\r\n")
        # Where bare line ends are accepted too, the parser may see the end of the head elsewhere.
        is_plain = content.count(b"\r") == content.count(b"\n") == lines
        if len(content) + body_bytes != len(data) or len(content) > MAX_HEAD_BYTES or not is_plain:
            return None
        return cls(content, len(data), scope, answer)

    def move(self, client: _Address, server: _Address) -> Self:
        """Return the same head for a connection between these addresses."""
        return replace(self, scope={**self.scope, "client": client, "server": server})

    def match(self, data: bytes) -> bytes | None:
        """Return the body of `data` if it is a request with this head."""
        length = len(self.content)
        # In constant time, because another client's head may hold its key.
        if len(data) != self.request_bytes or not hmac.compare_digest(data[:length], self.content):
            return None
        return data[length:]
