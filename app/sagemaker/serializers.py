"""Serializers by SageMaker's names: Python values to a request's body."""

import io
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

NPY = "application/x-npy"


class Serializer(Protocol):
    """Makes a request's body; a class of your own needs these two."""

    @property
    def CONTENT_TYPE(self) -> str:
        """MIME type of the body."""
        ...

    def serialize(self, data: Any) -> bytes | str:
        """Make the body."""
        ...


class SimpleBaseSerializer(ABC):
    """Base class for serializers: keeps the MIME type of the body."""

    DEFAULT: ClassVar[str] = "application/json"

    def __init__(self, content_type: str | None = None) -> None:
        """Send bodies as that type, by default the class's own."""
        self.CONTENT_TYPE = content_type or self.DEFAULT

    @abstractmethod
    def serialize(self, data: Any) -> bytes | str:
        """Make the body."""


BaseSerializer = SimpleBaseSerializer


class NumpySerializer(SimpleBaseSerializer):
    """Makes NPY of arrays, and of lists that numpy turns into one."""

    DEFAULT = NPY

    def __init__(self, dtype: Any = None, content_type: str | None = None) -> None:
        """Convert to that dtype first; None keeps the array's own."""
        super().__init__(content_type)
        self.dtype = dtype

    def serialize(self, data: Any) -> bytes:
        """Make NPY bytes; those of an open file are sent as they are."""
        if hasattr(data, "read"):
            return bytes(data.read())
        body = io.BytesIO()
        np.save(body, np.asarray(data, dtype=self.dtype), allow_pickle=False)
        return body.getvalue()


class JSONSerializer(SimpleBaseSerializer):
    """Makes JSON; arrays become nested lists."""

    def serialize(self, data: Any) -> bytes:
        """Make the JSON text; raises TypeError for a value that JSON has not."""
        return json.dumps(data, default=_plain).encode()


class JSONLinesSerializer(SimpleBaseSerializer):
    """Makes a line of JSON of each element; text is sent as it is."""

    DEFAULT = "application/jsonlines"

    def serialize(self, data: str | Iterable[Any]) -> bytes:
        """Make the lines."""
        if isinstance(data, str):
            return data.encode()
        return "\n".join(json.dumps(element, default=_plain) for element in data).encode()


class CSVSerializer(SimpleBaseSerializer):
    """Makes a CSV line of each outer element, flattened; text is sent as it is."""

    DEFAULT = "text/csv"

    def serialize(self, data: Any) -> bytes:
        """Make the lines."""
        if isinstance(data, str):
            return data.encode()
        rows = np.atleast_2d(np.asarray(data))
        lines = (",".join(map(str, row.ravel().tolist())) for row in rows)
        return "\n".join(lines).encode()


class StringSerializer(SimpleBaseSerializer):
    """Sends a value's text."""

    DEFAULT = "text/plain"

    def serialize(self, data: Any) -> bytes:
        """Make the text."""
        return str(data).encode()


class IdentitySerializer(SimpleBaseSerializer):
    """Sends bytes and text as they are."""

    DEFAULT = "application/octet-stream"

    def serialize(self, data: bytes | str) -> bytes:
        """Give the bytes."""
        return data.encode() if isinstance(data, str) else data


class DataSerializer(IdentitySerializer):
    """Sends bytes as they are, or the file at a path."""

    DEFAULT = "file-path/raw-bytes"

    def serialize(self, data: bytes | str) -> bytes:
        """Give the bytes, or read the file."""
        return Path(data).read_bytes() if isinstance(data, str) else data


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be sent as JSON")
