"""What a predictor sends, by SageMaker's names."""

import io
import json
from typing import Any, Protocol

import numpy as np


class Serializer(Protocol):
    """Makes a request's body."""

    CONTENT_TYPE: str

    def serialize(self, data: Any) -> bytes:
        """The body for some data."""
        ...


class NumpySerializer:
    """Arrays, and what becomes one, as NPY."""

    CONTENT_TYPE = "application/x-npy"

    def __init__(self, dtype: Any = None) -> None:
        """Convert to that type first; None leaves an array's own."""
        self.dtype = dtype

    def serialize(self, data: Any) -> bytes:
        """An array's bytes with their header."""
        body = io.BytesIO()
        np.save(body, np.asarray(data, dtype=self.dtype), allow_pickle=False)
        return body.getvalue()


class JSONSerializer:
    """Numbers, lists and tables as JSON; arrays as nested lists."""

    CONTENT_TYPE = "application/json"

    def serialize(self, data: Any) -> bytes:
        """The data's text."""
        return json.dumps(data, default=_plain).encode()


class CSVSerializer:
    """A line for each outer element, its numbers in one row."""

    CONTENT_TYPE = "text/csv"

    def serialize(self, data: Any) -> bytes:
        """The lines' text; text goes as it is."""
        if isinstance(data, str):
            return data.encode()
        rows = np.atleast_2d(np.asarray(data))
        lines = (",".join(map(str, row.ravel().tolist())) for row in rows)
        return "\n".join(lines).encode()


class IdentitySerializer:
    """Bytes and text as they are."""

    def __init__(self, content_type: str = "application/octet-stream") -> None:
        """Send them as that type."""
        self.CONTENT_TYPE = content_type

    def serialize(self, data: bytes | str) -> bytes:
        """The bytes."""
        return data.encode() if isinstance(data, str) else data


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be sent as JSON")
