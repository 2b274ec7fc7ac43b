"""The codec of `application/x-npy`: an array as `numpy.save` writes it.

The header is parsed here, as NumPy's reader would unpickle objects, or allocate what a header
declares.
"""

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from serve.errors import BadRequestError
from serve.formats.arrays import Floats, Numbers

_MAGIC = b"\x93NUMPY"
_LENGTH_BYTES = {b"\x01\x00": 2, b"\x02\x00": 4}
_HEADER_LIMIT = 1024
_DTYPES = ("|u1", "<u2", "<u4", "<u8", "|i1", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8")
_MAX_AXES = 8
_SIZE = "(?:0|[1-9][0-9]{0,8})"
_SHAPE = rf"\((?:{_SIZE}, *|{_SIZE}(?:, *{_SIZE}){{1,{_MAX_AXES - 1}}},? *)?\)"
_ENTRY = rf"'(\w+)': *('[^'\\]*'|True|False|{_SHAPE})"
_HEADER = re.compile(rf"\{{{_ENTRY}, *{_ENTRY}, *{_ENTRY},? *\}} *\n", re.ASCII)
"""A header as NumPy and its kin write it: a Python dictionary of three entries, in any order."""
_KEYS = {"descr", "fortran_order", "shape"}


@dataclass(frozen=True)
class _Header:
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    size: int
    """Bytes of the numbers after the header."""


def decode_npy(body: bytes) -> Numbers:
    """Decode an NPY file of version 1 or 2 with integers or floats; raises BadRequestError."""
    start = 8 + _LENGTH_BYTES.get(body[6:8], 0)
    if body[:6] != _MAGIC or start == 8:
        raise BadRequestError("the body is not an NPY file of version 1 or 2")
    end = start + int.from_bytes(body[8:start], "little")
    if end > min(len(body), _HEADER_LIMIT):
        raise BadRequestError("the body's NPY header is cut off or too long")
    header = _parse_header(body[start:end])
    if header.size != len(body) - end:
        raise BadRequestError(
            f"the body's NPY header declares {header.size} bytes of numbers, "
            f"but {len(body) - end} follow it"
        )
    values = (
        np.frombuffer(body, header.dtype, -1, end) if header.size else np.empty(0, header.dtype)
    )
    return values.reshape(header.shape, order="F" if header.fortran else "C")


@lru_cache(maxsize=64)  # Clients repeat a few headers.
def _parse_header(text: bytes) -> _Header:
    found = _HEADER.fullmatch(text.decode("latin-1"))
    fields = dict(zip(found.groups()[::2], found.groups()[1::2], strict=True)) if found else {}
    kinds = {key: value[0] for key, value in fields.items()}
    order = kinds.get("fortran_order", "")
    if set(fields) != _KEYS or f"{kinds['descr']}{kinds['shape']}" != "'(" or order not in "TF":
        raise BadRequestError(
            "the body's NPY header is not of a dtype, an order and a shape of at most "
            f"{_MAX_AXES} axes"
        )
    descr = fields["descr"].strip("'")
    if descr not in _DTYPES:
        known = ", ".join(_DTYPES)
        raise BadRequestError(f"the body's NPY dtype is {descr[:40]!r}; send one of {known}")
    shape = tuple(int(size) for size in fields["shape"].strip("()").split(",") if size.strip())
    dtype = np.dtype(descr)
    return _Header(dtype, shape, order == "T", math.prod(shape) * dtype.itemsize)


def encode_npy(outputs: Floats) -> bytes:
    """Encode outputs as a float32 NPY file."""
    return _encode_header(outputs.shape) + outputs.astype("<f4", copy=False).tobytes()


@lru_cache(maxsize=64)
def _encode_header(shape: tuple[int, ...]) -> bytes:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    padding = -(len(header) + 11) % 64
    text = f"{header}{' ' * padding}\n".encode()
    return b"".join((_MAGIC, b"\x01\x00", len(text).to_bytes(2, "little"), text))
