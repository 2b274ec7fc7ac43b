"""Stub of `sagemaker_containers.beta.framework.worker`: the response of old handlers."""

from typing import Any


class Response(tuple[Any, Any]):
    """A response as today's handlers return it: (body, content type)."""

    __slots__ = ()

    def __new__(
        cls, response: Any = None, accept: str | None = None, mimetype: str | None = None
    ) -> "Response":
        """Make a response; the content type goes by either name."""
        return super().__new__(cls, (response, mimetype or accept))
