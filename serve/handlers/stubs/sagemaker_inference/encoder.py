"""Stub of `sagemaker_inference.encoder`: predictions to response bodies, as the toolkit does it.

Unlike the toolkit's, it never pickles.
"""

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from .content_types import CSV, JSON, NPY
from .errors import UnsupportedFormatError


def encode(array_like: Any, content_type: str) -> str | bytes:
    """Encode an array, or anything like one: JSON and CSV as text, NPY as bytes.

    Raises UnsupportedFormatError for any other type.
    """
    if content_type not in _ENCODERS:
        raise UnsupportedFormatError(content_type)
    return _ENCODERS[content_type](array_like)


def _encode_json(array_like: object) -> str:
    return json.dumps(array_like, default=_as_list)


def _as_list(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _encode_csv(array_like: Any) -> str:
    file = io.StringIO()
    np.savetxt(file, array_like, delimiter=",", fmt="%s")
    return file.getvalue()


def _encode_npy(array_like: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array_like, allow_pickle=False)
    return file.getvalue()


_ENCODERS: dict[str, Callable[[Any], str | bytes]] = {
    JSON: _encode_json,
    CSV: _encode_csv,
    NPY: _encode_npy,
}
ENCODED_TYPES = tuple(_ENCODERS)
"""Types that `encode` writes, the default first."""
SUPPORTED_CONTENT_TYPES = set(ENCODED_TYPES)
