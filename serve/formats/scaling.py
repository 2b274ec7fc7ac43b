"""Numbers to the model's input: which shape and which scale a client has sent."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve.errors import UnprocessableError
from serve.models.manifest import TensorSpec

Numbers = NDArray[Any]
Floats = NDArray[np.float32]

BYTES = (0.0, 255.0)
TOLERANCE = 1e-4
"""How far, as a share of a scale's range, rounding may carry a value outside it."""


@dataclass(frozen=True)
class Scale:
    """A scale in which clients send pixels: `pixels = numbers * factor + offset`."""

    name: str
    low: float
    high: float
    factor: float = 1.0
    offset: float = 0.0

    def holds(self, low: float, high: float) -> bool:
        """Whether values from low to high lie in this scale, rounding allowed for."""
        slack = TOLERANCE * (self.high - self.low)
        return self.low - slack <= low and high <= self.high + slack


@dataclass(slots=True)
class Pixels:
    """A batch as the model takes it, and the name of the scale that it came in, where known."""

    values: Floats
    scale: str | None


def to_pixels(numbers: Numbers, spec: TensorSpec) -> Pixels:
    """The numbers as the model's input, shape `(N, …)`, an image alone being a batch of one.

    Each image may be flat or without its axes of length 1; the scale is told from the whole batch.
    """
    batch = _shaped(numbers, spec.shape[1:])
    flat = batch.reshape(-1)
    if batch.dtype == np.uint8 and spec.range == BYTES and flat[flat.argmax()] > 1:
        return Pixels(batch.astype(np.float32), "0-255")  # Bytes can be of no other scale.
    low, high = float(flat[flat.argmin()]), float(flat[flat.argmax()])  # quicker than min and max
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UnprocessableError("the input has NaN or infinity where a finite number belongs")
    if spec.range is None:
        return Pixels(batch.astype(np.float32), None)
    scale = _scale(low, high, scales(spec))
    if scale.factor == 1.0 and spec.range[0] <= low and high <= spec.range[1]:
        return Pixels(batch.astype(np.float32), scale.name)
    values = np.multiply(batch, scale.factor, dtype=np.float64)
    values += scale.offset
    return Pixels(np.clip(values, *spec.range, out=values).astype(np.float32), scale.name)


@lru_cache(maxsize=16)
def scales(spec: TensorSpec) -> tuple[Scale, ...]:
    """The scales in which the input may come, in the order in which they are tried.

    Normalised images are told by values below the darkest pixel, so they come last; an image whose
    brightest pixel is 1 of 255 would be blank to the eye, so values up to 1 are taken as 0 to 1.
    """
    if spec.range is None:
        return ()
    low, high = spec.range
    span = high - low
    known = [Scale("0-1", 0.0, 1.0, span, low), Scale(f"{low:g}-{high:g}", low, high)]
    if spec.mean is not None and spec.std is not None:
        ends = (0.0 - spec.mean) / spec.std, (1.0 - spec.mean) / spec.std
        known.append(Scale("normalised", *ends, spec.std * span, spec.mean * span + low))
    return tuple(known)


def _scale(low: float, high: float, known: Sequence[Scale]) -> Scale:
    pixels = known[1]
    if low == high == pixels.low:
        return pixels  # A blank image is blank in both scales; call it by the model's own.
    for scale in known:
        if scale.holds(low, high):
            return scale
    ranges = ", ".join(f"{scale.name} ({scale.low:.4g} to {scale.high:.4g})" for scale in known)
    raise UnprocessableError(
        f"the values lie between {low:.6g} and {high:.6g}, outside every known scale: {ranges}"
    )


def _shaped(numbers: Numbers, image: tuple[int, ...]) -> Numbers:
    """The numbers as a batch of such images, or an error that lists the shapes that would do."""
    forms = _forms(image)
    if numbers.size:
        shape = numbers.shape
        if shape in forms:
            return numbers.reshape(1, *image)
        if shape[1:] in forms:
            return numbers.reshape(-1, *image)
    shapes = ", ".join(f"{_text(one)} or {_text(('N', *one))}" for one in forms)
    raise UnprocessableError(f"the input has shape {_text(numbers.shape)}, expected {shapes}")


@lru_cache(maxsize=16)
def _forms(image: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """The shapes in which an image may come: as it is, without axes of length 1, and flat."""
    return tuple(dict.fromkeys((image, _squeezed(image), (math.prod(image),))))


def _squeezed(image: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in image if size != 1)


def _text(shape: Sequence[object]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
