"""Deserializers by SageMaker's names: an answer's body to Python values."""

import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import IO, Any, ClassVar, Protocol

import numpy as np

NPY, JSON, CSV = "application/x-npy", "application/json", "text/csv"


class Deserializer(Protocol):
    """Reads an answer's body; a class of your own needs these two."""

    @property
    def ACCEPT(self) -> Sequence[str]:
        """MIME types to ask for."""
        ...

    def deserialize(self, stream: IO[bytes], content_type: str) -> Any:
        """Read the body, which came as that type."""
        ...


class SimpleBaseDeserializer(ABC):
    """Base class for deserializers: keeps the MIME types to ask for."""

    DEFAULT: ClassVar[tuple[str, ...]] = ("*/*",)

    def __init__(self, accept: str | Sequence[str] | None = None) -> None:
        """Ask for these types, or for the class's own."""
        types = (accept,) if isinstance(accept, str) else tuple(accept or ())
        self.ACCEPT: tuple[str, ...] = types or self.DEFAULT

    @abstractmethod
    def deserialize(self, stream: IO[bytes], content_type: str) -> Any:
        """Read the body, which came as that type."""


BaseDeserializer = SimpleBaseDeserializer


class NumpyDeserializer(SimpleBaseDeserializer):
    """Reads NPY, CSV or JSON into an array."""

    DEFAULT = (NPY,)

    def __init__(self, dtype: Any = None, accept: str | Sequence[str] | None = None) -> None:
        """Convert to that dtype; None keeps the answer's own."""
        super().__init__(accept)
        self.dtype = dtype

    def deserialize(self, stream: IO[bytes], content_type: str) -> Any:
        """Read the array; nothing is unpickled."""
        if content_type == CSV:
            return np.genfromtxt(stream, delimiter=",", dtype=self.dtype or float)
        if content_type == JSON:
            return np.asarray(json.load(stream), dtype=self.dtype)
        loaded = np.load(io.BytesIO(stream.read()), allow_pickle=False)
        return loaded if self.dtype is None else loaded.astype(self.dtype)


class JSONDeserializer(SimpleBaseDeserializer):
    """Reads JSON."""

    DEFAULT = (JSON,)

    def deserialize(self, stream: IO[bytes], content_type: str) -> Any:
        """Read the value."""
        return json.load(stream)


class JSONLinesDeserializer(SimpleBaseDeserializer):
    """Reads a JSON value from each line."""

    DEFAULT = ("application/jsonlines",)

    def deserialize(self, stream: IO[bytes], content_type: str) -> list[Any]:
        """Read the values of all lines that are not blank."""
        return [json.loads(line) for line in stream if line.strip()]


class _Text(SimpleBaseDeserializer):
    """Base class of those that read text in an encoding."""

    def __init__(self, encoding: str = "utf-8", accept: str | Sequence[str] | None = None) -> None:
        """Decode by that encoding."""
        super().__init__(accept)
        self.encoding = encoding

    def _text(self, stream: IO[bytes]) -> str:
        return stream.read().decode(self.encoding)


class CSVDeserializer(_Text):
    """Reads CSV into lists of text."""

    DEFAULT = (CSV,)

    def deserialize(self, stream: IO[bytes], content_type: str) -> list[list[str]]:
        """Read the rows."""
        return list(csv.reader(io.StringIO(self._text(stream))))


class StringDeserializer(_Text):
    """Reads the body as text."""

    DEFAULT = (JSON,)

    def deserialize(self, stream: IO[bytes], content_type: str) -> str:
        """Read the text."""
        return self._text(stream)


class BytesDeserializer(SimpleBaseDeserializer):
    """Gives the body's bytes."""

    def deserialize(self, stream: IO[bytes], content_type: str) -> bytes:
        """Read the bytes."""
        return stream.read()


class StreamDeserializer(SimpleBaseDeserializer):
    """Gives the open body and its type."""

    def deserialize(self, stream: IO[bytes], content_type: str) -> tuple[IO[bytes], str]:
        """Give both, unread."""
        return stream, content_type
