"""Codecs, negotiation and scaling: bodies read, bodies refused, and errors."""

import io
import json
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from serve.errors import (
    BadRequestError,
    NotAcceptableError,
    RequestError,
    UnprocessableError,
    UnsupportedTypeError,
)
from serve.formats.codecs import CODECS
from serve.formats.negotiation import acceptable, content_type
from serve.formats.scaling import to_pixels
from serve.models.manifest import TensorSpec

JSON, CSV, NPY = CODECS
SPEC = TensorSpec("image", "float32", (-1, 1, 28, 28), (0.0, 255.0), 0.1307, 0.3081)
TYPES = tuple(CODECS)


def decode(kind: str, body: bytes) -> NDArray[np.float64]:
    return np.asarray(CODECS[kind].decode(body), dtype=np.float64)


def npy(array: NDArray[np.generic]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def image(high: float = 255.0) -> NDArray[np.float64]:
    return np.linspace(0, high, 784).reshape(28, 28)


# --- JSON


def test_json_is_a_bare_list_or_instances() -> None:
    bare = decode(JSON, b"[[1, 2.5], [3, 4]]")
    assert bare.tolist() == [[1, 2.5], [3, 4]]
    assert decode(JSON, b'{"instances": [[1, 2.5], [3, 4]]}').tolist() == bare.tolist()
    assert decode(JSON, b"\xef\xbb\xbf[1]").tolist() == [1]


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"[1, 2", "not JSON: .* line 1 column"),
        (b"\xff\xfe[\x001\x00", "not UTF-8 at byte 0"),
        (b"[" * 100_000, "nested too deeply"),
        (b'["1"]', '"1" where a number belongs'),
        (b"[1, true]", "true where a number belongs"),
        (b"[[1], [false]]", "false where a number belongs"),
        (b"[null]", "null where a number belongs"),
        (b'[{"a": 1}]', "where a number belongs"),
        (b'[[1, 2], "seven"]', '"seven" where a number belongs'),
        (b'{"pixels": [1]}', 'no "instances"'),
        (b'"seven"', "where a number belongs"),
    ],
)
def test_json_that_is_unreadable_is_a_bad_request(body: bytes, match: str) -> None:
    with pytest.raises(BadRequestError, match=match):
        decode(JSON, body)


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (b"[NaN]", "NaN where a finite number belongs"),
        (b"[-Infinity]", "-Infinity where a finite number belongs"),
        (b"[[1, 2], [3]]", "differ in length or depth"),
        (b"[1, [2]]", "differ in length or depth"),
        (b"[" + b"9" * 400 + b"]", "too large"),
        (b"[" + b"9" * 5000 + b"]", "too many digits"),
        (b"[" * 200 + b"1" + b"]" * 200, "differ in length or depth"),
    ],
)
def test_json_that_is_no_array_of_finite_numbers_is_unprocessable(body: bytes, match: str) -> None:
    with pytest.raises(UnprocessableError, match=match):
        decode(JSON, body)


def test_a_true_beside_the_instances_does_no_harm() -> None:
    assert decode(JSON, b'{"instances": [1], "verbose": true}').tolist() == [1]


# --- CSV


def test_csv_has_one_input_a_line() -> None:
    assert decode(CSV, b"1,2.5\r\n3,4e0\r\n\r\n").tolist() == [[1, 2.5], [3, 4]]
    assert decode(CSV, b"\xef\xbb\xbf 1 , 2").tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (b"", "empty"),
        (b"\r\n", "empty"),
        (b"pixel0,pixel1\n1,2", "line 1: 'pixel0' is not a number"),
        (b"1,2\n3,", "line 2: '' is not a number"),
        (b"1;2", "'1;2' is not a number"),
        (b"0x10,1", "'0x10' is not a number"),
        (b"1,1_000", "'1_000' is not a number"),
        (b'"1",2', "is not a number"),
    ],
)
def test_csv_with_text_is_a_bad_request(body: bytes, match: str) -> None:
    with pytest.raises(BadRequestError, match=match):
        decode(CSV, body)


def test_csv_rows_must_be_equally_long() -> None:
    with pytest.raises(UnprocessableError, match="line 3 has 1 numbers, not 2"):
        decode(CSV, b"1,2\n\n3")


# --- NPY


@pytest.mark.parametrize("dtype", ["u1", "i1", "<u2", "<i4", "<i8", "<f2", "<f4", "<f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_reads_what_numpy_writes(dtype: str, order: str) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    body = npy(np.asfortranarray(array) if order == "F" else array)
    assert np.array_equal(CODECS[NPY].decode(body), array)


def test_npy_reads_version_two_and_any_order_of_keys() -> None:
    header = b"{'shape': (2,), 'fortran_order': False, 'descr': '|u1'}\n"
    body = b"\x93NUMPY\x02\x00" + len(header).to_bytes(4, "little") + header + b"\x01\x02"
    assert decode(NPY, body).tolist() == [1, 2]


GOOD = npy(np.arange(784, dtype=np.uint8).reshape(1, 784))


def with_header(text: str, data: bytes = b"\x00" * 8) -> bytes:
    header = text.encode("latin-1")
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x93NUMPY",
        b"PK\x03\x04" + bytes(100),
        b"\x80\x04K\x01.",
        GOOD[:-1],
        GOOD + b"\x00",
        GOOD[:40],
        b"\x93NUMPY\x03\x00" + GOOD[8:],
        npy(np.zeros(3, dtype=">f4")),
        npy(np.zeros(3, dtype=bool)),
        npy(np.zeros(3, dtype="<c8")),
        npy(np.zeros(3, dtype="<U1")),
        npy(np.zeros(3, dtype="<M8[s]")),
        npy(np.zeros(3, dtype=[("a", "<f4")])),
        with_header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"),
        with_header("{'descr': '|V0', 'fortran_order': False, 'shape': (1000000000000,), }", b""),
        with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000,), }"),
        with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }"),
        with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (True,), }"),
        with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }}"),
        with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1 0,), }"),
        with_header("{'descr': '<f8', 'fortran_order': 'True', 'shape': (1,), }"),
        with_header("{'descr': '<f8', 'fortran_order': False, }"),
        with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1), }"),
        with_header("(" * 900),
        with_header(" " * 2000),
        with_header(""),
    ],
)
def test_npy_that_is_not_exactly_an_array_of_numbers_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(BadRequestError, match="the body"):
        decode(NPY, body)


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_a_changed_byte_of_npy_is_read_or_refused(place: int, byte: int) -> None:
    body = GOOD[:place] + bytes([byte]) + GOOD[place + 1 :]
    try:
        numbers = CODECS[NPY].decode(body)
    except RequestError:
        return
    assert numbers.nbytes == 784


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_by_every_codec(body: bytes) -> None:
    for codec in CODECS.values():
        with suppress(RequestError):
            codec.decode(body)


# --- What is written


OUTPUTS = np.array([[-0.125, -2.1457649e-06], [-31.618406, 0.0]], dtype=np.float32)


def test_json_and_csv_give_back_every_bit() -> None:
    assert np.array_equal(np.array(json.loads(CODECS[JSON].encode(OUTPUTS)), np.float32), OUTPUTS)
    lines = CODECS[CSV].encode(OUTPUTS).decode().splitlines()
    assert len(lines) == 2
    assert np.array_equal(np.array([line.split(",") for line in lines], np.float32), OUTPUTS)


@pytest.mark.parametrize("rows", [1, 2, 1000])
def test_npy_is_written_as_numpy_reads_it(rows: int) -> None:
    outputs = np.resize(OUTPUTS, (rows, 2))
    read = np.load(io.BytesIO(CODECS[NPY].encode(outputs)), allow_pickle=False)
    assert read.dtype == np.float32
    assert np.array_equal(read, outputs)


# --- Content types


@pytest.mark.parametrize("header", ["text/csv", "TEXT/CSV; charset=utf-8", ' text/csv ;a="b"'])
def test_content_type_is_read_without_parameters(header: str) -> None:
    assert content_type(header, TYPES) == CSV


@pytest.mark.parametrize(
    "header", [None, "", "text/plain", "application/json, text/csv", "é" * 500]
)
def test_unknown_content_type_lists_the_known_ones(header: str | None) -> None:
    with pytest.raises(UnsupportedTypeError, match="text/csv or application/x-npy"):
        content_type(header, TYPES)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("text/*", CSV),
        ("application/x-npy", NPY),
        ("text/csv, application/json", CSV),
        ("application/json;q=0.9", JSON),
        ("text/csv;q=0.5, application/x-npy;q=0.8", NPY),
        ("image/png, text/csv;q=0.1", CSV),
        ("*/*, application/json;q=0", CSV),
        ("*/*;q=0.1, application/x-npy", NPY),
        ("Application/X-NPY; Q=1.0", NPY),
        ("text/csv;q=x, */*;q=0.2", JSON),
    ],
)
def test_accept_is_negotiated(accept: str | None, expected: str) -> None:
    assert acceptable(accept, TYPES) == expected


@pytest.mark.parametrize(
    "accept", ["image/png", "application/json;q=0", "json", ",", "text/csv;q=2"]
)
def test_an_accept_header_without_a_known_type_lists_the_known_ones(accept: str) -> None:
    with pytest.raises(NotAcceptableError, match="accept application/json, text/csv or"):
        acceptable(accept, TYPES)


# --- Shapes


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


# --- Scales


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
