"""The answer that old handlers make, which today is a body and its type."""

from typing import Any


class Response(tuple[Any, Any]):
    """What an `output_fn` may return in its place: (body, content type)."""

    __slots__ = ()

    def __new__(
        cls, response: Any = None, accept: str | None = None, mimetype: str | None = None
    ) -> "Response":
        """The body, and its type by either name."""
        return super().__new__(cls, (response, mimetype or accept))
