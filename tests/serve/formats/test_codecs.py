"""Codecs: bodies read, bodies refused, and errors."""

import io
import json
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from serve.errors import (
    BadRequestError,
    RequestError,
    UnprocessableError,
)
from serve.formats.codecs import CODECS

JSON, CSV, NPY = CODECS


def decode(kind: str, body: bytes) -> NDArray[np.float64]:
    return np.asarray(CODECS[kind].decode(body), dtype=np.float64)


def npy(array: NDArray[np.generic]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


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
