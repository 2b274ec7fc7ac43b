"""The toolkit's own content types: bytes to arrays and back, as its decoder and encoder do it.

Two things differ: nothing is ever unpickled, and nothing pickled.
"""

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

JSON = "application/json"
CSV = "text/csv"
OCTET_STREAM = "application/octet-stream"
ANY = "*/*"
NPY = "application/x-npy"
NPZ = "application/x-npz"
UTF8_TYPES = (JSON, CSV)
"""What handlers are given as text; everything else is given as bytes."""

NPY_HEADERS: dict[tuple[int, int], Callable[..., tuple[tuple[int, ...], bool, np.dtype[Any]]]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
    (3, 0): np.lib.format.read_array_header_2_0,  # the same but for letters beyond ASCII
}


class UnsupportedFormatError(Exception):
    """A content type that nobody reads or writes."""

    def __init__(self, content_type: str, **_: object) -> None:
        super().__init__(f"Content type {content_type} is not supported by this framework.")


class BaseInferenceToolkitError(Exception):
    """What a script raises to choose the status of its answer."""

    def __init__(self, status_code: int, message: str, phrase: str) -> None:
        super().__init__(status_code, message, phrase)
        self.status_code = status_code
        self.message = message
        self.phrase = phrase


class GenericInferenceToolkitError(BaseInferenceToolkitError):
    """The same, with a text for whoever gives none."""

    def __init__(
        self, status_code: int, message: str | None = None, phrase: str | None = None
    ) -> None:
        message = message or "Invalid Request"
        super().__init__(status_code, message, phrase or message)


def decode(content: Any, content_type: str) -> Any:
    """The array in a body of that type; of NPZ, a sparse matrix."""
    if content_type not in _DECODERS:
        raise UnsupportedFormatError(content_type)
    return _DECODERS[content_type](content)


def encode(array_like: object, content_type: str) -> str | bytes:
    """Anything like an array in that type: NPY as bytes, the others as text."""
    if content_type not in _ENCODERS:
        raise UnsupportedFormatError(content_type)
    return _ENCODERS[content_type](array_like)


def read_npy(content: bytes) -> NDArray[Any]:
    """The array in an NPY file; one that declares more than it has is refused before it is made."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version not in NPY_HEADERS:
        raise ValueError(f"NPY version {version[0]}.{version[1]} is not read")
    try:
        shape, _, dtype = NPY_HEADERS[version](file)
    except Exception as error:  # Python's own parser reads it, and raises what it likes.
        raise ValueError(f"its header cannot be read: {error}") from error
    if dtype.hasobject:
        raise ValueError("the array holds Python objects, which are never unpickled")
    declared, left = dtype.itemsize * int(np.prod(shape, dtype=object)), len(content) - file.tell()
    if declared > left:
        raise ValueError(f"the header declares {declared} bytes of numbers, but {left} follow it")
    return np.asarray(np.load(io.BytesIO(content), allow_pickle=False))


def _read_json(text: str) -> NDArray[Any]:
    return np.array(json.loads(text))


def _read_csv(text: str) -> NDArray[Any]:
    # Without a type, NumPy finds one for each column: integers where all cells are.
    return np.asarray(np.genfromtxt(io.StringIO(text), dtype=None, delimiter=","))


def _read_npz(content: bytes) -> Any:
    import scipy.sparse  # Loaded where somebody sends a sparse matrix.

    return scipy.sparse.load_npz(io.BytesIO(content))


def _write_json(array_like: object) -> str:
    return json.dumps(array_like, default=_as_list)


def _as_list(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _write_csv(array_like: Any) -> str:
    file = io.StringIO()
    np.savetxt(file, array_like, delimiter=",", fmt="%s")
    return file.getvalue()


def _write_npy(array_like: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array_like, allow_pickle=False)
    return file.getvalue()


_DECODERS: dict[str, Callable[[Any], Any]] = {
    JSON: _read_json,
    CSV: _read_csv,
    NPY: read_npy,
    NPZ: _read_npz,
}
_ENCODERS: dict[str, Callable[[Any], str | bytes]] = {
    JSON: _write_json,
    CSV: _write_csv,
    NPY: _write_npy,
}
ENCODED_TYPES = tuple(_ENCODERS)
"""What can be answered in, the type that is given without a wish first."""
