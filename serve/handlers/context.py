"""What handlers with one argument more are given: the request's headers, and the answer's."""

from collections.abc import Mapping
from typing import Any


class Context:
    """As much of the model server's context as scripts use; it holds one request at a time."""

    def __init__(self, model_name: str, model_dir: str) -> None:
        self.model_name = model_name
        self.system_properties: Mapping[str, Any] = {"model_dir": model_dir, "gpu_id": None}
        self.request_processor = [self]
        self.begin({})

    def begin(self, headers: Mapping[str, str]) -> None:
        """Take the headers of the next request, and forget what was said of the last."""
        self._request = {name.lower(): value for name, value in headers.items()}
        self.status: int | None = None
        self.response_headers: dict[str, str] = {}

    def get_request_properties(self) -> dict[str, str]:
        """All headers of the request."""
        return dict(self._request)

    def get_all_request_header(self, idx: int = 0) -> dict[str, str]:
        """All headers of the request."""
        return dict(self._request)

    def get_request_header(self, idx: int, key: str) -> str | None:
        """One header of the request."""
        return self._request.get(key.lower())

    def set_response_content_type(self, idx: int, value: str) -> None:
        """Say of what type the answer is."""
        self.set_response_header(idx, "content-type", value)

    def set_response_header(self, idx: int, key: str, value: str) -> None:
        """Send a header with the answer."""
        self.response_headers[key.lower()] = value

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        """Choose the answer's status."""
        self.status = code
