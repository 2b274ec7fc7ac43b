"""What a predictor makes of an answer, by SageMaker's names."""

import csv
import io
import json
from collections.abc import Sequence
from typing import IO, Any, ClassVar, Protocol

import numpy as np

NPY, JSON, CSV = "application/x-npy", "application/json", "text/csv"


class Deserializer(Protocol):
    """Reads an answer's body."""

    @property
    def ACCEPT(self) -> Sequence[str]:
        """The types to ask for."""
        ...

    def deserialize(self, stream: IO[bytes], content_type: str) -> Any:
        """What the body holds."""
        ...


class SimpleBaseDeserializer:
    """To derive from: keeps the types that it was given."""

    DEFAULT: ClassVar[tuple[str, ...]] = ("*/*",)

    def __init__(self, accept: str | Sequence[str] | None = None) -> None:
        """Ask for these types, or for the class's own."""
        given = (accept,) if isinstance(accept, str) else tuple(accept or ())
        self.ACCEPT: tuple[str, ...] = given or self.DEFAULT

    def deserialize(self, stream: IO[bytes], content_type: str) -> Any:
        """What the body holds."""
        raise NotImplementedError(f"{type(self).__name__} has no deserialize()")


BaseDeserializer = SimpleBaseDeserializer


class NumpyDeserializer(SimpleBaseDeserializer):
    """An array, whichever of NPY, CSV and JSON came."""

    DEFAULT = (NPY,)

    def __init__(self, dtype: Any = None, accept: str | Sequence[str] | None = None) -> None:
        """Convert to that dtype; None leaves the answer's own."""
        super().__init__(accept)
        self.dtype = dtype

    def deserialize(self, stream: IO[bytes], content_type: str) -> Any:
        """The array; nothing in it is unpickled."""
        if content_type == CSV:
            return np.genfromtxt(stream, delimiter=",", dtype=self.dtype or float)
        if content_type == JSON:
            return np.asarray(json.load(stream), dtype=self.dtype)
        loaded = np.load(io.BytesIO(stream.read()), allow_pickle=False)
        return loaded if self.dtype is None else loaded.astype(self.dtype)


class JSONDeserializer(SimpleBaseDeserializer):
    """What JSON says."""

    DEFAULT = (JSON,)

    def deserialize(self, stream: IO[bytes], content_type: str) -> Any:
        """Lists, tables and numbers."""
        return json.load(stream)


class JSONLinesDeserializer(SimpleBaseDeserializer):
    """What each line of JSON says."""

    DEFAULT = ("application/jsonlines",)

    def deserialize(self, stream: IO[bytes], content_type: str) -> list[Any]:
        """The lines' values."""
        return [json.loads(line) for line in stream if line.strip()]


class _Text(SimpleBaseDeserializer):
    """What reads text in an encoding."""

    def __init__(self, encoding: str = "utf-8", accept: str | Sequence[str] | None = None) -> None:
        """Read that encoding."""
        super().__init__(accept)
        self.encoding = encoding

    def _text(self, stream: IO[bytes]) -> str:
        return stream.read().decode(self.encoding)


class CSVDeserializer(_Text):
    """Rows of text."""

    DEFAULT = (CSV,)

    def deserialize(self, stream: IO[bytes], content_type: str) -> list[list[str]]:
        """The rows."""
        return list(csv.reader(io.StringIO(self._text(stream))))


class StringDeserializer(_Text):
    """The body's text."""

    DEFAULT = (JSON,)

    def deserialize(self, stream: IO[bytes], content_type: str) -> str:
        """The text."""
        return self._text(stream)


class BytesDeserializer(SimpleBaseDeserializer):
    """The body as it came."""

    def deserialize(self, stream: IO[bytes], content_type: str) -> bytes:
        """The bytes."""
        return stream.read()


class StreamDeserializer(SimpleBaseDeserializer):
    """The body to be read, and its type."""

    def deserialize(self, stream: IO[bytes], content_type: str) -> tuple[IO[bytes], str]:
        """Both."""
        return stream, content_type
