"""The interface by which the transport reaches the application outside ASGI: `Responder`."""

from collections.abc import Callable
from typing import Protocol

from starlette.types import Scope

Header = tuple[bytes, bytes]


class Reply(Protocol):
    """A whole response, except for the length of its body."""

    @property
    def status(self) -> int:
        """HTTP status."""

    @property
    def headers(self) -> list[Header]:
        """Headers without `content-length`."""

    @property
    def body(self) -> bytes:
        """Body."""


SendReply = Callable[[Reply, Header], None]
"""Sends a reply with one header more, which names the request."""
AnswerSmall = Callable[[Scope, bytes, SendReply], bool]
"""Answers a request from its scope and body without a task; False if it needs one.

It returns before the reply is sent, in a later turn of the event loop.
"""


class Responder(Protocol):
    """Answers small requests without a task, and words and counts the transport's refusals."""

    headers: tuple[Header, ...]
    """Headers of every reply."""

    def find_answer(self, scope: Scope) -> AnswerSmall | None:
        """Return the function that answers this request without a task, if there is one."""

    def refuse(self, path: str, status: int, sentence: str) -> Reply:
        """Count a request that the transport refuses, and return the reply to it.

        Args:
            path: Path of the request; empty if no head was read.
            status: HTTP status of the refusal.
            sentence: Reason, for the client.
        """
