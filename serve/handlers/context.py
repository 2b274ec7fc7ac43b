"""The context that handlers may take: headers of the request, status and headers of the reply."""

from collections.abc import Mapping
from typing import Any


class Context:
    """The part of the model server's `Context` that scripts use, for one request at a time."""

    def __init__(self, model_name: str, model_dir: str) -> None:
        self.model_name = model_name
        self.system_properties: Mapping[str, Any] = {"model_dir": model_dir, "gpu_id": None}
        self.request_processor = [self]
        self.start_request({})

    def start_request(self, headers: Mapping[str, str]) -> None:
        """Set the headers of the next request, and reset status and headers of the reply."""
        self._request = {name.lower(): value for name, value in headers.items()}
        self.status: int | None = None
        self.response_headers: dict[str, str] = {}

    def get_request_properties(self) -> dict[str, str]:
        """Return all headers of the request."""
        return dict(self._request)

    def get_all_request_header(self, idx: int = 0) -> dict[str, str]:
        """Return all headers of the request."""
        return dict(self._request)

    def get_request_header(self, idx: int, key: str) -> str | None:
        """Return one header of the request, or None."""
        return self._request.get(key.lower())

    def set_response_content_type(self, idx: int, value: str) -> None:
        """Set the content type of the reply."""
        self.set_response_header(idx, "content-type", value)

    def set_response_header(self, idx: int, key: str, value: str) -> None:
        """Set a header of the reply."""
        self.response_headers[key.lower()] = value

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        """Set the status of the reply."""
        self.status = code

    def reply_status(self) -> int:
        """Return the status of the reply: 200 unless a valid one was set."""
        status = self.status
        return status if isinstance(status, int) and 200 <= status < 600 else 200
