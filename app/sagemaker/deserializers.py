"""What a predictor makes of an answer, by SageMaker's names."""

import csv
import io
import json
from typing import Any, Protocol

import numpy as np


class Deserializer(Protocol):
    """Reads an answer's body."""

    ACCEPT: tuple[str, ...]

    def deserialize(self, body: bytes, content_type: str) -> Any:
        """What the body holds."""
        ...


class NumpyDeserializer:
    """An array, whichever of NPY, CSV and JSON came."""

    ACCEPT: tuple[str, ...] = ("application/x-npy",)

    def __init__(self, dtype: Any = None, accept: str = "application/x-npy") -> None:
        """Ask for that type, and convert to that dtype; None leaves the answer's own."""
        self.dtype = dtype
        self.ACCEPT = (accept,)

    def deserialize(self, body: bytes, content_type: str) -> Any:
        """The array; nothing in it is unpickled."""
        if content_type == "text/csv":
            return np.genfromtxt(io.BytesIO(body), delimiter=",", dtype=self.dtype or float)
        if content_type == "application/json":
            return np.asarray(json.loads(body), dtype=self.dtype)
        loaded = np.load(io.BytesIO(body), allow_pickle=False)
        return loaded if self.dtype is None else loaded.astype(self.dtype)


class JSONDeserializer:
    """What JSON says."""

    ACCEPT: tuple[str, ...] = ("application/json",)

    def deserialize(self, body: bytes, content_type: str) -> Any:
        """Lists, tables and numbers."""
        return json.loads(body)


class CSVDeserializer:
    """Rows of text."""

    ACCEPT: tuple[str, ...] = ("text/csv",)

    def deserialize(self, body: bytes, content_type: str) -> list[list[str]]:
        """The rows."""
        return list(csv.reader(io.StringIO(body.decode())))


class BytesDeserializer:
    """The body as it came."""

    ACCEPT: tuple[str, ...] = ("*/*",)

    def deserialize(self, body: bytes, content_type: str) -> bytes:
        """The bytes."""
        return body
