"""Stub of `sagemaker_inference.decoder`: request bodies to NumPy arrays, as the toolkit does it.

Unlike the toolkit's, it never unpickles what a client sent.
"""

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .content_types import CSV, JSON, NPY, NPZ
from .errors import UnsupportedFormatError

NPY_HEADERS: dict[tuple[int, int], Callable[..., tuple[tuple[int, ...], bool, np.dtype[Any]]]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
    (3, 0): np.lib.format.read_array_header_2_0,  # the same but for letters beyond ASCII
}


def decode(obj: Any, content_type: str) -> Any:
    """Decode a body of that content type to an array; NPZ gives a sparse matrix.

    Raises UnsupportedFormatError for any other type, and what NumPy and JSON raise for a body that
    cannot be read.
    """
    if content_type not in _DECODERS:
        raise UnsupportedFormatError(content_type)
    return _DECODERS[content_type](obj)


def _decode_npy(content: bytes) -> NDArray[Any]:
    """Decode one array; refuse, before it is allocated, one that declares more than follows."""
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


def _decode_json(text: str) -> NDArray[Any]:
    return np.array(json.loads(text))


def _decode_csv(content: str | bytes) -> NDArray[Any]:
    text = content.decode() if isinstance(content, bytes) else content
    # Without a type, NumPy finds one for each column: integers where all cells are.
    return np.asarray(np.genfromtxt(io.StringIO(text), dtype=None, delimiter=","))


def _decode_npz(content: bytes) -> Any:
    import scipy.sparse  # Loaded where somebody sends a sparse matrix.

    return scipy.sparse.load_npz(io.BytesIO(content))


_DECODERS: dict[str, Callable[[Any], Any]] = {
    JSON: _decode_json,
    CSV: _decode_csv,
    NPY: _decode_npy,
    NPZ: _decode_npz,
}
