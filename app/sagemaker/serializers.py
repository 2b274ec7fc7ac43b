"""What a predictor sends, by SageMaker's names."""

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

NPY = "application/x-npy"


class Serializer(Protocol):
    """Makes a request's body."""

    @property
    def CONTENT_TYPE(self) -> str:
        """The body's type."""
        ...

    def serialize(self, data: Any) -> bytes | str:
        """The body for some data."""
        ...


class SimpleBaseSerializer:
    """To derive from: keeps the type that it was given."""

    DEFAULT: ClassVar[str] = "application/json"

    def __init__(self, content_type: str | None = None) -> None:
        """Send bodies as that type, or as the class's own."""
        self.CONTENT_TYPE = content_type or self.DEFAULT

    def serialize(self, data: Any) -> bytes | str:
        """The body for some data."""
        raise NotImplementedError(f"{type(self).__name__} has no serialize()")


BaseSerializer = SimpleBaseSerializer


class NumpySerializer(SimpleBaseSerializer):
    """Arrays, and what becomes one, as NPY."""

    DEFAULT = NPY

    def __init__(self, dtype: Any = None, content_type: str | None = None) -> None:
        """Convert to that dtype first; None leaves an array's own."""
        super().__init__(content_type)
        self.dtype = dtype

    def serialize(self, data: Any) -> bytes:
        """An array's bytes with their header; an open file's as they are."""
        if hasattr(data, "read"):
            return bytes(data.read())
        body = io.BytesIO()
        np.save(body, np.asarray(data, dtype=self.dtype), allow_pickle=False)
        return body.getvalue()


class JSONSerializer(SimpleBaseSerializer):
    """Numbers, lists and tables as JSON; arrays as nested lists."""

    def serialize(self, data: Any) -> bytes:
        """The data's text."""
        return json.dumps(data, default=_plain).encode()


class JSONLinesSerializer(SimpleBaseSerializer):
    """A line of JSON for each element; text as it is."""

    DEFAULT = "application/jsonlines"

    def serialize(self, data: str | Iterable[Any]) -> bytes:
        """The lines' text."""
        if isinstance(data, str):
            return data.encode()
        return "\n".join(json.dumps(each, default=_plain) for each in data).encode()


class CSVSerializer(SimpleBaseSerializer):
    """A line for each outer element, its numbers in one row; text as it is."""

    DEFAULT = "text/csv"

    def serialize(self, data: Any) -> bytes:
        """The lines' text."""
        if isinstance(data, str):
            return data.encode()
        rows = np.atleast_2d(np.asarray(data))
        lines = (",".join(map(str, row.ravel().tolist())) for row in rows)
        return "\n".join(lines).encode()


class StringSerializer(SimpleBaseSerializer):
    """Text."""

    DEFAULT = "text/plain"

    def serialize(self, data: Any) -> bytes:
        """The text of whatever it is."""
        return str(data).encode()


class IdentitySerializer(SimpleBaseSerializer):
    """Bytes and text as they are."""

    DEFAULT = "application/octet-stream"

    def serialize(self, data: bytes | str) -> bytes:
        """The bytes."""
        return data.encode() if isinstance(data, str) else data


class DataSerializer(IdentitySerializer):
    """Bytes as they are, or a file's, of which the path is given."""

    DEFAULT = "file-path/raw-bytes"

    def serialize(self, data: bytes | str) -> bytes:
        """The bytes."""
        return Path(data).read_bytes() if isinstance(data, str) else data


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be sent as JSON")
