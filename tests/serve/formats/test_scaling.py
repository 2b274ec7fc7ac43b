"""Scaling of numbers in each accepted shape and scale to the model's input."""

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from serve.errors import BadRequestError, UnprocessableError
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


NORMALISED_ZERO = -0.1307 / 0.3081


@pytest.mark.parametrize(
    ("low", "high", "scale"),
    [
        (0, 0, "0-255"),
        (0, 1, "0-1"),
        (0, 0.3, "0-1"),
        (1, 1, "0-1"),
        (0.5, 0.5, "0-1"),
        (0, 2, "0-255"),
        (3, 15, "0-255"),
        (0, 16, "0-255"),
        (0.25, 16.5, "0-255"),
        (0.1, 254.9, "0-255"),
        (255, 255, "0-255"),
        (NORMALISED_ZERO, NORMALISED_ZERO, "normalised"),
        (NORMALISED_ZERO + 9e-4, 2.8216, "normalised"),
        (NORMALISED_ZERO - 9e-4, 0.5, "normalised"),
    ],
)
@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
def test_the_scale_of_an_image_is_told_by_its_numbers(
    low: float, high: float, scale: str, dtype: str
) -> None:
    found = to_pixels(np.resize([low, high], 784).astype(dtype), SPEC)
    assert found.scale == scale
    assert found.values.min() >= 0
    assert found.values.max() <= 255


@pytest.mark.parametrize(
    ("low", "high"),
    [
        *((0, 1.01), (0, 1.05), (0, 1.5), (0.5, 15.9), (0, 255.001), (0, 256), (255, 256)),
        *((-1, 1), (-1e-7, 1), (-0.1, 0.5), (-0.4242, 255), (-0.4242, 2.9), (-5, 0), (-1, 255)),
        (0, 1e300),
    ],
)
def test_a_scale_in_doubt_is_asked_for(low: float, high: float) -> None:
    numbers = np.resize(np.array([low, high], dtype=np.float64), 784)
    with pytest.raises(
        UnprocessableError, match="by the header x-input-scale: 0-1, 0-255 or normalised"
    ):
        to_pixels(numbers, SPEC)


def test_each_image_has_a_scale_of_its_own() -> None:
    pixels = np.rint(image())
    mixed = np.stack([pixels, pixels / 255, (pixels / 255 - 0.1307) / 0.3081, np.zeros((28, 28))])
    found = to_pixels(mixed, SPEC)
    assert found.scale == "mixed"
    assert np.allclose(found.values[:3, 0], pixels, atol=1e-2)
    assert not found.values[3].any()
    assert to_pixels(mixed[:1], SPEC).scale == "0-255"


def test_one_image_in_doubt_among_many_is_named() -> None:
    unit = np.linspace(0, 1, 300 * 784).reshape(300, 784)
    unit[:, -1] = 1
    unit[6, 5] = 1.05
    with pytest.raises(UnprocessableError, match=r"input 7 lie between .* and 1\.05"):
        to_pixels(unit, SPEC)


@pytest.mark.parametrize("dtype", ["u1", "<i8", "<f4"])
def test_whole_numbers_of_any_type_may_be_dark(dtype: str) -> None:
    found = to_pixels(np.resize(np.array([0, 3], dtype), 784), SPEC)
    assert found.scale == "0-255"
    assert found.values.max() == 3


@pytest.mark.parametrize(
    ("declared", "low", "high", "pixels"),
    [
        ("0-255", 0, 1, (0, 1)),
        ("0-255", 0.5, 1.5, (0.5, 1.5)),
        ("0-255", 0, 255.001, (0, 255)),
        ("0-1", 0, 0, (0, 0)),
        ("0-1", -1e-7, 1.00001, (0, 255)),
        ("normalised", -0.1, 0.5, (25.47, 72.61)),
        ("normalised", 0, 1, (33.33, 111.89)),
    ],
)
def test_a_declared_scale_is_taken(
    declared: str, low: float, high: float, pixels: tuple[float, float]
) -> None:
    found = to_pixels(np.resize(np.array([low, high], float), (3, 784)), SPEC, declared)
    assert found.scale == declared
    assert (found.values.min(), found.values.max()) == pytest.approx(pixels, abs=0.01)


@pytest.mark.parametrize(
    ("declared", "low", "high", "match"),
    [
        ("0-1", 0, 255, r"between 0 and 255, outside 0-1 \(0 to 1\), which x-input-scale"),
        ("0-255", -0.1, 1, r"outside 0-255 \(0 to 255\)"),
        ("normalised", -0.5, 1, r"outside normalised \(-0\.4242 to 2\.821\)"),
    ],
)
def test_values_outside_the_declared_scale_are_refused(
    declared: str, low: float, high: float, match: str
) -> None:
    with pytest.raises(UnprocessableError, match=match):
        to_pixels(np.resize([low, high], 784), SPEC, declared)


def test_an_unknown_scale_lists_the_known_ones() -> None:
    with pytest.raises(BadRequestError, match="expected 0-1, 0-255 or normalised, got '0-2'"):
        to_pixels(image(), SPEC, "0-2")
    with pytest.raises(BadRequestError, match="expected 0-1 or 0-255, got 'normalised'"):
        to_pixels(image(), replace(SPEC, mean=None, std=None), "normalised")
    with pytest.raises(BadRequestError, match="takes numbers as they are; leave the header out"):
        to_pixels(image(), replace(SPEC, range=None), "0-1")


@pytest.mark.parametrize(
    ("span", "low", "high", "scale"),
    [
        ((0.0, 1.0), 0, 1, "0-1"),
        ((0.0, 1.0), 0, 0, "0-1"),
        ((-1.0, 1.0), -1, 1, "-1-1"),
        ((-1.0, 1.0), -1, -1, "-1-1"),
        ((0.0, 16.0), 0, 16, "0-16"),
    ],
)
def test_other_ranges_have_scales_too(
    span: tuple[float, float], low: float, high: float, scale: str
) -> None:
    spec = TensorSpec("image", "float32", (-1, 1, 28, 28), span)
    found = to_pixels(np.resize(np.array([low, high], float), 784), spec)
    assert found.scale == scale
    assert (found.values.min(), found.values.max()) == (low, high)


def test_many_numbers_are_not_held_as_doubles() -> None:
    images = np.resize(np.array([0, 1], np.uint8), (4000, 784))
    tracemalloc.start()
    to_pixels(images, SPEC)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * images.size


def test_many_inputs_have_the_scales_that_each_has_alone() -> None:
    images = np.stack([image() * (1, 1 / 255)[number % 3 == 0] for number in range(600)])
    found = to_pixels(images, SPEC)
    assert found.scale == "mixed"
    alone = [to_pixels(one, SPEC).values for one in images]
    assert found.values.tobytes() == np.concatenate(alone).tobytes()


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
