"""Scaling: numbers in any shape and scale that clients send, to the model's input.

The client may declare the scale. Otherwise each input's own numbers tell it, but only where they
cannot be those of another scale; numbers that leave a doubt are refused.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from serve.errors import BadRequestError, UnprocessableError
from serve.formats.arrays import Floats, Numbers
from serve.models.manifest import TensorSpec

SCALE_HEADER = "x-input-scale"
"""Header in which a client declares the scale, and a reply says which was taken."""
MIXED = "mixed"
"""Name in a reply whose inputs came in different scales."""
BRIGHT = 16 / 255
"""Share of the range from which the greatest value is no dark pixel of another scale."""
BACKGROUND_TOLERANCE = 1e-3
"""Distance of a normalised image's least value from the background's."""
ROWS_AT_ONCE = 256
"""Inputs that are doubles in memory while they are converted."""
ROUNDING = 1e-4
"""Distance of a value from a declared scale, as a share of its range, that rounding explains."""


@dataclass(frozen=True)
class Scale:
    """A scale of clients' numbers; the model's are `numbers * factor + offset`."""

    name: str
    low: float
    high: float
    factor: float = 1.0
    offset: float = 0.0
    bright: float = math.inf
    """An input whose greatest number is above this is of no other scale."""

    def contains(self, low: float, high: float, *, slack: float = 0.0) -> bool:
        """Whether values from low to high lie in this scale, or beyond it by the slack."""
        return self.low - slack <= low and high <= self.high + slack

    def stays_inside(self, own: "Scale", low: float, high: float) -> bool:
        """Whether values from low to high, converted, lie in the model's own scale."""
        ends = low * self.factor + self.offset, high * self.factor + self.offset
        return own.contains(min(ends), max(ends))


@dataclass(slots=True)
class Pixels:
    """A batch as the model takes it, and the scale it came in."""

    values: Floats
    scale: str | None
    """Name of the scale, `mixed` for more than one; None if the model's input has no range."""


def to_pixels(numbers: Numbers, spec: TensorSpec, declared: str | None = None) -> Pixels:
    """Convert numbers to the model's input.

    Args:
        numbers: A batch, or one input. An input may be flat, or lack its axes of length 1.
        spec: The model's input.
        declared: Name of the scale, where the client declares it.

    Returns:
        A batch of shape `(N, …)` in the model's scale.

    Raises:
        BadRequestError: The model has no scale of the declared name.
        UnprocessableError: The shape does not fit, values are NaN, infinite or outside the
            declared scale, or the scale of an input cannot be told.
    """
    scale = None if declared is None else find_scale(declared, spec)
    batch = _reshape(numbers, spec.shape[1:])
    rows = batch.reshape(len(batch), -1)
    # The ufuncs themselves: for one image, the arrays' own methods take as long again.
    lows = np.minimum.reduce(rows, axis=1).tolist()
    highs = np.maximum.reduce(rows, axis=1).tolist()
    if rows.dtype.kind == "f" and not all(map(math.isfinite, (*lows, *highs))):
        raise UnprocessableError("the input has NaN or infinity where a finite number belongs")
    if spec.range is None:
        return Pixels(batch.astype(np.float32), None)
    known = scales(spec)
    own = known[-1]
    if scale is None:
        if own.low <= min(lows) and own.bright < min(highs) and max(highs) <= own.high:
            return Pixels(batch.astype(np.float32), own.name)
        found = _infer_scales(rows, lows, highs, known)
    else:
        _check_declared(scale, min(lows), max(highs))
        found = [scale]
    values = _convert(rows, found).reshape(batch.shape)
    if len(found) > 1 or not found[0].stays_inside(own, min(lows), max(highs)):
        np.maximum(values, spec.range[0], out=values)
        np.minimum(values, spec.range[1], out=values)
    return Pixels(values, found[0].name if len(found) == 1 else MIXED)


@lru_cache(maxsize=16)
def scales(spec: TensorSpec) -> tuple[Scale, ...]:
    """List the scales in which an input may come, the model's own last."""
    if spec.range is None:
        return ()
    low, high = spec.range
    span = high - low
    known = {"0-1": Scale("0-1", 0.0, 1.0, span, low)}
    if spec.mean is not None and spec.std is not None:
        ends = (0.0 - spec.mean) / spec.std, (1.0 - spec.mean) / spec.std
        known["normalised"] = Scale("normalised", *ends, spec.std * span, spec.mean * span + low)
    highs = (scale.high + BACKGROUND_TOLERANCE for scale in known.values())
    own = Scale(f"{low:g}-{high:g}", low, high, bright=max(low + BRIGHT * span, *highs))
    return tuple({**known, own.name: own}.values())


def own_scale(spec: TensorSpec) -> str | None:
    """Return the name of the model's own scale, or None if its input has no range."""
    return scales(spec)[-1].name if spec.range else None


def find_scale(name: str, spec: TensorSpec) -> Scale:
    """Return the scale of that name; raises BadRequestError if the input has none such."""
    for scale in scales(spec):
        if scale.name == name:
            return scale
    if spec.range is None:
        raise BadRequestError(
            f"{SCALE_HEADER}: this model takes numbers as they are; leave the header out"
        )
    raise BadRequestError(
        f"{SCALE_HEADER}: expected {_list_names(scales(spec))}, got {name[:40]!r}"
    )


def _check_declared(scale: Scale, low: float, high: float) -> None:
    if not scale.contains(low, high, slack=ROUNDING * (scale.high - scale.low)):
        raise UnprocessableError(
            f"the values lie between {low:.6g} and {high:.6g}, outside {scale.name} "
            f"({scale.low:.4g} to {scale.high:.4g}), which {SCALE_HEADER} declares"
        )


def _infer_scales(
    rows: Numbers, lows: Sequence[float], highs: Sequence[float], known: Sequence[Scale]
) -> list[Scale]:
    """Find the scale of each row by its least and greatest value; one for all, if it is one."""
    found = []
    for number, (low, high) in enumerate(zip(lows, highs, strict=True)):
        scale = _infer_scale(rows[number], low, high, known)
        if scale is None:
            which = "the values" if len(rows) == 1 else f"the values of input {number + 1}"
            raise UnprocessableError(
                f"{which} lie between {low:.6g} and {high:.6g}, which leaves their scale in "
                f"doubt; declare it by the header {SCALE_HEADER}: {_list_names(known)}"
            )
        found.append(scale)
    return found[:1] if found.count(found[0]) == len(found) else found


def _infer_scale(row: Numbers, low: float, high: float, known: Sequence[Scale]) -> Scale | None:
    unit, own = known[0], known[-1]
    if unit.low <= low and high <= unit.high:
        # An image without ink fits several scales.
        return own if low == high == own.low else unit
    for scale in known[1:-1]:
        at_background = abs(low - scale.low) <= BACKGROUND_TOLERANCE
        if at_background and scale.contains(low, high, slack=BACKGROUND_TOLERANCE):
            return scale
    is_bright = high >= own.low + BRIGHT * (own.high - own.low)
    return own if own.contains(low, high) and (is_bright or _is_whole(row)) else None


def _is_whole(row: Numbers) -> bool:
    return row.dtype.kind in "iu" or bool((row == np.rint(row)).all())


def _convert(rows: Numbers, found: Sequence[Scale]) -> Floats:
    """Convert rows, of one scale or each of its own, to the model's scale."""
    if len(rows) > ROWS_AT_ONCE:
        floats = np.empty(rows.shape, np.float32)
        for start in range(0, len(rows), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            floats[part] = _convert(rows[part], found if len(found) == 1 else found[part])
        return floats
    factor: float | Numbers = found[0].factor
    offset: float | Numbers = found[0].offset
    if len(found) > 1:
        factor = np.array([[scale.factor] for scale in found])
        offset = np.array([[scale.offset] for scale in found])
    values: Numbers = np.multiply(rows, factor, dtype=np.float64, casting="unsafe")
    values += offset
    return values.astype(np.float32, copy=False)


def _list_names(known: Sequence[Scale]) -> str:
    *first, last = sorted(scale.name for scale in known)
    return f"{', '.join(first)} or {last}" if first else last


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
        f"{format_shape(shape)} or {format_shape(('N', *shape))}" for shape in accepted
    )
    raise UnprocessableError(
        f"the input has shape {format_shape(numbers.shape)}, expected {shapes}"
    )


@lru_cache(maxsize=16)
def _image_shapes(image: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """List the shapes of an image: full, without axes of length 1, and flat."""
    squeezed = tuple(size for size in image if size != 1)
    return tuple(dict.fromkeys((image, squeezed, (math.prod(image),))))


def format_shape(shape: Sequence[object]) -> str:
    """Format sizes as NumPy does a shape."""
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
