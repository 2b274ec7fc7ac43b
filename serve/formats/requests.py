"""Requests of `/invocations` and `/predict` to an ONNX model: body to inputs, outputs to reply."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from serve.errors import BadRequestError, NotFoundError, UnprocessableError
from serve.formats.arrays import Floats
from serve.formats.codecs import CODECS, JSON
from serve.formats.predictions import gives_labels, predictions, why_no_predictions
from serve.formats.scaling import Pixels, to_pixels
from serve.models.manifest import Manifest, TensorSpec

PNG = "image/png"
PICTURES = (PNG, "image/jpeg", "image/webp")
DRAWABLE = (-1, 1, 28, 28)
"""Input shape of models that classify a drawn digit."""


@dataclass(slots=True)
class InferResponse:
    """A reply's body and content type, and the facts that go into its headers."""

    body: bytes
    media_type: str
    inputs: int = 0
    """Number of inputs answered, where the model's inputs are known."""
    scale: str | None = None
    """Name of the scale in which the pixels came, where the model has scales."""
    status: int = 200
    headers: Sequence[tuple[bytes, bytes]] = ()


@dataclass(slots=True)
class InferRequest:
    """Inputs as the model's backend takes them, and the function that encodes its outputs."""

    inputs: Any
    respond: Callable[[Any], InferResponse]


def is_drawable(manifest: Manifest) -> bool:
    """Whether the model classifies drawn digits and names its classes."""
    return takes_images(manifest) and gives_labels(manifest)


def takes_images(manifest: Manifest) -> bool:
    """Whether the model's input is one 28 by 28 image."""
    return not manifest.has_handlers and manifest.inputs[0].shape == DRAWABLE


def predict_types(manifest: Manifest) -> tuple[str, ...]:
    """Content types that `/predict` reads for this model."""
    return (JSON, *PICTURES) if takes_images(manifest) else (JSON,)


def read_invocation(
    body: bytes, manifest: Manifest, *, content_type: str, accept: str
) -> InferRequest:
    """Decode a body of `/invocations`; the raw outputs are encoded as `accept`.

    Raises:
        BadRequestError: The body is empty or cannot be decoded.
        UnprocessableError: Its numbers do not fit the model's input.
    """
    numbers = CODECS[content_type].decode(_non_empty(body))
    pixels = to_pixels(numbers, manifest.inputs[0])
    return InferRequest(pixels.values, partial(_encode_outputs, accept, pixels.scale))


def read_prediction(
    body: bytes, manifest: Manifest, *, content_type: str, with_input: bool = False
) -> InferRequest:
    """Decode a body of `/predict`: instances in JSON, or one picture.

    The reply has labels with probabilities, or the outputs by name; `with_input` adds the numbers
    that the model was given to each prediction.

    Raises:
        NotFoundError: The model's outputs have no predictions.
        BadRequestError: The body is empty or cannot be decoded.
        UnprocessableError: Its numbers do not fit the model's input.
    """
    if (why_not := why_no_predictions(manifest)) is not None:
        raise NotFoundError(why_not)
    decode = _read_picture if content_type in PICTURES else CODECS[JSON].decode
    pixels = to_pixels(decode(_non_empty(body)), manifest.inputs[0])
    if takes_images(manifest):
        _check_drawn(pixels.values, manifest.inputs[0])
    return InferRequest(pixels.values, partial(_encode_predictions, manifest, pixels, with_input))


def _encode_outputs(accept: str, scale: str | None, outputs: Floats) -> InferResponse:
    return InferResponse(CODECS[accept].encode(outputs), accept, len(outputs), scale)


def _encode_predictions(
    manifest: Manifest, pixels: Pixels, with_input: bool, outputs: Floats
) -> InferResponse:
    found = predictions(manifest, outputs)
    if with_input:
        for prediction, values in zip(found, pixels.values, strict=True):
            prediction["input"] = np.ascontiguousarray(values)
    model = {"name": manifest.name, "version": manifest.version}
    reply = {"predictions": found, "model": model}
    body = orjson.dumps(reply, option=orjson.OPT_SERIALIZE_NUMPY)
    return InferResponse(body, JSON, len(outputs), pixels.scale)


def _check_drawn(images: Floats, spec: TensorSpec) -> None:
    """Raise UnprocessableError for an image of background alone, in which no label is."""
    background = spec.range[0] if spec.range else 0.0
    greatest = images.reshape(len(images), -1).max(axis=1)
    blank = np.flatnonzero(greatest <= background)
    if blank.size:
        which = "the image" if len(images) == 1 else f"image {blank[0] + 1}"
        raise UnprocessableError(f"nothing drawn: {which} is blank")


def _non_empty(body: bytes) -> bytes:
    if not body:
        raise BadRequestError("the body is empty")
    return body


def _read_picture(body: bytes) -> NDArray[np.float32]:
    from serve.formats.drawing import read_picture  # It loads Pillow, which only drawings need.

    return read_picture(body)
