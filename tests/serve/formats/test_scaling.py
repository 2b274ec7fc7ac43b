"""Scaling of numbers in each accepted shape and scale to the model's input."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from serve.errors import UnprocessableError
from serve.formats.scaling import to_pixels
from serve.models.manifest import TensorSpec

SPEC = TensorSpec("image", "float32", (-1, 1, 28, 28), (0.0, 255.0), 0.1307, 0.3081)


def image(high: float = 255.0) -> NDArray[np.float64]:
    return np.linspace(0, high, 784).reshape(28, 28)


@pytest.mark.parametrize(
    ("shape", "count"),
    [
        ((28, 28), 1),
        ((1, 28, 28), 1),
        ((784,), 1),
        ((1, 784), 1),
        ((5, 784), 5),
        ((5, 28, 28), 5),
        ((5, 1, 28, 28), 5),
        ((28, 28, 28), 28),
        ((784, 784), 784),
    ],
)
def test_shapes_of_images_alone_and_in_batches(shape: tuple[int, ...], count: int) -> None:
    values = to_pixels(np.zeros(shape), SPEC).values
    assert values.shape == (count, 1, 28, 28)
    assert values.dtype == np.float32


@pytest.mark.parametrize(
    "shape", [(), (0,), (0, 784), (0, 28, 28), (783,), (28,), (2, 3, 28, 28), (1, 1, 1, 28, 28)]
)
def test_a_wrong_shape_lists_the_accepted_ones(shape: tuple[int, ...]) -> None:
    with pytest.raises(UnprocessableError, match=r"expected \(1, 28, 28\) or \(N, 1, 28, 28\)"):
        to_pixels(np.zeros(shape), SPEC)


def test_shapes_come_from_the_model() -> None:
    flat = TensorSpec("row", "float32", (-1, 4))
    assert to_pixels(np.zeros(4), flat).values.shape == (1, 4)
    assert to_pixels(np.zeros((3, 4)), flat).values.shape == (3, 4)
    with pytest.raises(UnprocessableError, match=r"shape \(5,\), expected \(4,\) or \(N, 4\)"):
        to_pixels(np.zeros(5), flat)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_scale_gives_the_same_pixels(dtype: type) -> None:
    pixels = np.rint(image())
    unit: NDArray[Any] = (pixels / 255).astype(dtype)
    normalised = ((unit - dtype(0.1307)) / dtype(0.3081)).astype(dtype)
    for numbers, scale in ((pixels, "0-255"), (unit, "0-1"), (normalised, "normalised")):
        found = to_pixels(numbers, SPEC)
        assert found.scale == scale
        assert np.allclose(found.values[0, 0], pixels, atol=1e-2)


@pytest.mark.parametrize(
    ("low", "high", "scale"),
    [
        (0, 0, "0-255"),
        (0, 1, "0-1"),
        (0, 0.3, "0-1"),
        (1, 1, "0-1"),
        (-1e-7, 1.00001, "0-1"),
        (0, 1.5, "0-255"),
        (0, 255.001, "0-255"),
        (255, 255, "0-255"),
        (-0.4243, -0.4243, "normalised"),
        (-0.4243, 2.8216, "normalised"),
        (-0.1, 0.5, "normalised"),
    ],
)
def test_the_scale_is_inferred_from_the_range(low: float, high: float, scale: str) -> None:
    found = to_pixels(np.resize([low, high], 784), SPEC)
    assert found.scale == scale
    assert found.values.min() >= 0
    assert found.values.max() <= 255


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (0, 256), (-0.4242, 255), (-5, 0), (0, 1e300)])
def test_values_outside_every_scale_list_the_scales(low: float, high: float) -> None:
    with pytest.raises(UnprocessableError, match=r"0-1 \(0 to 1\), 0-255 .*, normalised \(-0\.42"):
        to_pixels(np.resize(np.array([low, high], dtype=np.float64), 784), SPEC)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_infinite_and_nan_inputs_are_refused(value: float) -> None:
    numbers = image()
    numbers[3, 4] = value
    with pytest.raises(UnprocessableError, match="NaN or infinity"):
        to_pixels(numbers, SPEC)


def test_a_model_without_a_range_takes_numbers_as_they_come() -> None:
    found = to_pixels(np.array([-7.0, 900.0]), TensorSpec("x", "float32", (-1, 2)))
    assert found.scale is None
    assert found.values.tolist() == [[-7.0, 900.0]]
