"""Stands in for `sagemaker_inference.encoder`: predictions to response bodies."""

import io
import json
from typing import Any

import numpy as np
from sagemaker_inference import errors  # this package, by the name that it is found by


def encode(array_like: Any, content_type: str) -> str | bytes:
    """An array, or what becomes one, as a body of that type."""
    if content_type == "application/json":
        values = array_like.tolist() if hasattr(array_like, "tolist") else array_like
        return json.dumps(values)
    if content_type == "text/csv":
        text = io.StringIO()
        np.savetxt(text, np.array(array_like), delimiter=",", fmt="%s")
        return text.getvalue()
    if content_type == "application/x-npy":
        body = io.BytesIO()
        np.save(body, np.array(array_like))
        return body.getvalue()
    raise errors.UnsupportedFormatError(content_type)
