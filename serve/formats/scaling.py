"""Scaling: numbers in any shape and scale that clients send, to the model's input."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from serve.errors import UnprocessableError
from serve.formats.arrays import Floats, Numbers
from serve.models.manifest import TensorSpec

BYTES = (0.0, 255.0)
TOLERANCE = 1e-4
"""Distance of a value from a scale, as a share of its range, that rounding explains."""


@dataclass(frozen=True)
class Scale:
    """A scale of clients' pixels; the model's are `numbers * factor + offset`."""

    name: str
    low: float
    high: float
    factor: float = 1.0
    offset: float = 0.0

    def contains(self, low: float, high: float) -> bool:
        """Whether values from low to high lie in this scale, apart from rounding."""
        slack = TOLERANCE * (self.high - self.low)
        return self.low - slack <= low and high <= self.high + slack


@dataclass(slots=True)
class Pixels:
    """A batch as the model takes it, and the scale it came in."""

    values: Floats
    scale: str | None
    """Name of the scale, if the model's input has a range."""


def to_pixels(numbers: Numbers, spec: TensorSpec) -> Pixels:
    """Convert numbers to the model's input.

    Args:
        numbers: A batch, or one image. An image may be flat, or lack its axes of length 1.
        spec: The model's input.

    Returns:
        A batch of shape `(N, …)` in the model's scale, which is inferred from all values.

    Raises:
        UnprocessableError: The shape does not fit, or values are NaN, infinite or out of range.
    """
    batch = _reshape(numbers, spec.shape[1:])
    flat = batch.reshape(-1)
    if batch.dtype == np.uint8 and spec.range == BYTES and flat[flat.argmax()] > 1:
        return Pixels(batch.astype(np.float32), "0-255")  # No other scale has bytes.
    low, high = float(flat[flat.argmin()]), float(flat[flat.argmax()])  # Faster than min and max.
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UnprocessableError("the input has NaN or infinity where a finite number belongs")
    if spec.range is None:
        return Pixels(batch.astype(np.float32), None)
    scale = _find_scale(low, high, scales(spec))
    if scale.factor == 1.0 and spec.range[0] <= low and high <= spec.range[1]:
        return Pixels(batch.astype(np.float32), scale.name)
    values = np.multiply(batch, scale.factor, dtype=np.float64)
    values += scale.offset
    return Pixels(np.clip(values, *spec.range, out=values).astype(np.float32), scale.name)


@lru_cache(maxsize=16)
def scales(spec: TensorSpec) -> tuple[Scale, ...]:
    """List the scales in which an input may come, in the order of their trial.

    Values up to 1 count as 0 to 1, since an image whose brightest pixel is 1 of 255 looks blank.
    Normalised images come last: they have values below the darkest pixel.
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


def _find_scale(low: float, high: float, known: Sequence[Scale]) -> Scale:
    pixels = known[1]
    if low == high == pixels.low:
        return pixels  # A blank image fits several scales; take the model's own.
    for scale in known:
        if scale.contains(low, high):
            return scale
    ranges = ", ".join(f"{scale.name} ({scale.low:.4g} to {scale.high:.4g})" for scale in known)
    raise UnprocessableError(
        f"the values lie between {low:.6g} and {high:.6g}, outside every known scale: {ranges}"
    )


def _reshape(numbers: Numbers, image: tuple[int, ...]) -> Numbers:
    """Reshape numbers to a batch of images; raises an error that lists the accepted shapes."""
    accepted = _image_shapes(image)
    if numbers.size:
        shape = numbers.shape
        if shape in accepted:
            return numbers.reshape(1, *image)
        if shape[1:] in accepted:
            return numbers.reshape(-1, *image)
    shapes = ", ".join(
        f"{_format_shape(shape)} or {_format_shape(('N', *shape))}" for shape in accepted
    )
    raise UnprocessableError(
        f"the input has shape {_format_shape(numbers.shape)}, expected {shapes}"
    )


@lru_cache(maxsize=16)
def _image_shapes(image: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """List the shapes of an image: full, without axes of length 1, and flat."""
    squeezed = tuple(size for size in image if size != 1)
    return tuple(dict.fromkeys((image, squeezed, (math.prod(image),))))


def _format_shape(shape: Sequence[object]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
