"""Requests of `/invocations` and `/predict` to an ONNX model: body to inputs, outputs to reply."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import orjson

from serve.errors import BadRequestError, NotFoundError, UnprocessableError, UnsupportedTypeError
from serve.formats.arrays import Floats, Numbers
from serve.formats.codecs import CODECS, JSON
from serve.formats.json_codec import parse_json, to_numbers
from serve.formats.negotiation import CURL_DEFAULT, media_type
from serve.formats.picture_bodies import FORM, read_form, read_json_pictures
from serve.formats.predictions import gives_labels, predictions, why_no_predictions
from serve.formats.scaling import Pixels, find_scale, format_shape, own_scale, to_pixels
from serve.formats.signatures import PICTURES, guess_media_type, guess_picture
from serve.models.manifest import Manifest, TensorSpec

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


def why_no_page(manifest: Manifest) -> str | None:
    """Return why there is no page to draw on, or None: drawn digits are classified by name."""
    if manifest.has_handlers:
        return "this model takes no drawings, but what its own handlers read; ask /invocations"
    if not takes_images(manifest):
        shape = format_shape(("N", *manifest.inputs[0].shape[1:]))
        return f"this model takes no drawings, but inputs of shape {shape}; /docs says how to ask"
    if not gives_labels(manifest):
        return "this model gives no label to an image; /docs says what it gives"
    return None


def takes_images(manifest: Manifest) -> bool:
    """Whether the model's input is one 28 by 28 image."""
    return not manifest.has_handlers and manifest.inputs[0].shape == DRAWABLE


def predict_types(manifest: Manifest) -> tuple[str, ...]:
    """Content types that `/predict` reads for this model."""
    return (JSON, *PICTURES, FORM) if takes_images(manifest) else (JSON,)


def read_invocation(
    body: bytes, manifest: Manifest, *, content_type: str, accept: str, scale: str | None = None
) -> InferRequest:
    """Decode a body of `/invocations`; the raw outputs are encoded as `accept`.

    Both types are keys of `CODECS`, that of the body or curl's default; `scale` is the one that the
    client declares.

    Raises:
        UnsupportedTypeError: The type is curl's default.
        BadRequestError: The body is empty or cannot be decoded.
        UnprocessableError: Its numbers do not fit the model's input.
    """
    if content_type == CURL_DEFAULT:
        raise _guess_type(body, tuple(CODECS))
    pixels = _read_numbers(CODECS[content_type].decode(_non_empty(body)), manifest, scale)
    return InferRequest(pixels.values, partial(_encode_outputs, accept, pixels.scale))


def read_prediction(
    body: bytes,
    manifest: Manifest,
    *,
    content_type: str,
    with_input: bool = False,
    scale: str | None = None,
) -> InferRequest:
    """Decode a body of `/predict`: numbers or pictures in JSON, or one picture.

    The reply has labels with probabilities, or the outputs by name; `with_input` adds the numbers
    that the model was given to each prediction. `content_type` is the whole header, of one of
    `predict_types` or curl's default.

    Raises:
        NotFoundError: The model's outputs have no predictions.
        UnsupportedTypeError: The type is curl's default.
        BadRequestError: The body is empty or cannot be decoded.
        UnprocessableError: Its numbers do not fit the model's input, or are a blank image.
    """
    if (why_not := why_no_predictions(manifest)) is not None:
        raise NotFoundError(why_not)
    kind = media_type(content_type)
    if kind == CURL_DEFAULT:
        raise _guess_type(body, predict_types(manifest))
    value = parse_json(_non_empty(body)) if kind == JSON else None
    pictures = _find_pictures(body, content_type, value) if takes_images(manifest) else None
    if pictures is None:
        pixels = _read_numbers(to_numbers(value, body), manifest, scale)
    else:
        pixels = _read_pictures(pictures, manifest, scale)
    if takes_images(manifest):
        _check_drawn(pixels.values, manifest.inputs[0])
    return InferRequest(pixels.values, partial(_encode_predictions, manifest, pixels, with_input))


def _find_pictures(body: bytes, content_type: str, value: object) -> list[bytes] | None:
    """Return the files that a body is or has; None for numbers in JSON, the `value`."""
    if media_type(content_type) == JSON:
        return read_json_pictures(value)
    return [read_form(body, content_type) if media_type(content_type) == FORM else body]


def _read_numbers(numbers: Numbers, manifest: Manifest, scale: str | None) -> Pixels:
    try:
        return to_pixels(numbers, manifest.inputs[0], scale)
    except UnprocessableError as error:
        picture = guess_picture(numbers.tobytes()[:12]) if numbers.dtype == np.uint8 else None
        if picture is None:
            raise
        raise UnprocessableError(
            f"these are a {PICTURES[picture]}'s bytes; send the file itself to /predict, with the "
            f"header content-type: {picture}"
        ) from error


def _read_pictures(files: Sequence[bytes], manifest: Manifest, scale: str | None) -> Pixels:
    """Read pictures, whose pixels have the model's own scale; a declared one is only checked."""
    from serve.formats.drawing import read_picture  # It loads Pillow, which only pictures need.

    spec = manifest.inputs[0]
    if scale is not None:
        find_scale(scale, spec)
    return to_pixels(np.stack([read_picture(file) for file in files]), spec, own_scale(spec))


def _guess_type(body: bytes, read: Sequence[str]) -> UnsupportedTypeError:
    """Create the error for a body of curl's default type, which names the type it should have."""
    guess = guess_media_type(body)
    advice = (
        f"add -H 'content-type: {guess}'"
        if guess in read
        else f"this looks like {guess}, which is not read here; send {', '.join(read)}"
    )
    return UnsupportedTypeError(f"content type {CURL_DEFAULT!r} is what curl adds; {advice}")


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
