"""Stands in for `sagemaker_inference.decoder`: request bodies to NumPy arrays."""

import io
import json
from typing import Any

import numpy as np
from sagemaker_inference import errors  # this package, by the name that it is found by


def decode(obj: str | bytes, content_type: str) -> Any:
    """The array in a body of that type; arrays of objects, which could hold code, are refused."""
    if content_type == "application/json":
        return np.array(json.loads(obj))
    if content_type == "text/csv":
        text = obj if isinstance(obj, str) else obj.decode()
        return np.genfromtxt(io.StringIO(text), delimiter=",")
    if content_type == "application/x-npy":
        content = obj if isinstance(obj, bytes) else obj.encode()
        return np.load(io.BytesIO(content), allow_pickle=False)
    raise errors.UnsupportedFormatError(content_type)
