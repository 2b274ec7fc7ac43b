"""Codecs: bodies read, bodies refused, and errors."""

import io
import json
import tracemalloc
from contextlib import suppress
from typing import Literal

import numpy as np
import numpy.lib.format as npformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from serve.errors import (
    BadRequestError,
    RequestError,
    TooLargeError,
    UnprocessableError,
)
from serve.formats import csv_codec
from serve.formats.codecs import CODECS
from serve.formats.csv_codec import MAX_LINES
from serve.formats.json_codec import MAX_CONTAINERS, MAX_TEXTS

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
        (b'[{"a": 1}]', "an object where a number belongs"),
        (b"[" + b'{"a":[' * 400 + b"1" + b"]}" * 400 + b"]", "an object where a number belongs"),
        (b'{"instances": 1, "": ["instances"]}', '"instances" more than once'),
        *((b"[" * depth + b"1" + b"]" * depth, "too deeply") for depth in (65, 200, 1010, 1024)),
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
    ],
)
def test_json_that_is_no_array_of_finite_numbers_is_unprocessable(body: bytes, match: str) -> None:
    with pytest.raises(UnprocessableError, match=match):
        decode(JSON, body)


def test_a_true_beside_the_instances_does_no_harm() -> None:
    assert decode(JSON, b'{"instances": [1], "verbose": true}').tolist() == [1]


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"0," * 7000 + b'"' + b"x" * 15_000 + b'"]',
        b'{"instances": [' + b"0," * 7000 + b'"' + b"x" * 15_000 + b'"]}',
        b"[" + b"0," * 50_000 + b'"' + b"x" * 20_000 + b'"]',
        b"[" + b"[0]," * 9000 + b"null]",
    ],
)
def test_a_text_among_numbers_is_refused_before_an_array_is_made(body: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(BadRequestError, match="where a number belongs"):
        decode(JSON, body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * len(body)


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (b"[" + b"[]," * MAX_CONTAINERS + b"0]", "250001 lists and objects, of at most 250000"),
        (b"[" + b"{}," * MAX_CONTAINERS + b"0]", "250001 lists and objects"),
        (b"[" + b'"",' * MAX_TEXTS + b'""]', "50001 texts, of at most 50000"),
    ],
)
def test_json_of_many_small_things_is_refused_before_it_is_parsed(body: bytes, match: str) -> None:
    tracemalloc.start()
    with pytest.raises(TooLargeError, match=match):
        decode(JSON, body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


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
        (b"1_0\n", "line 1: '1_0' is not a number"),
        (b"1\rx\n", "line 2: 'x' is not a number"),
        (b'"1",2', "is not a number"),
    ],
)
def test_csv_with_text_is_a_bad_request(body: bytes, match: str) -> None:
    with pytest.raises(BadRequestError, match=match):
        decode(CSV, body)


def test_csv_rows_must_be_equally_long() -> None:
    with pytest.raises(UnprocessableError, match="line 3 has 1 numbers, not 2"):
        decode(CSV, b"1,2\n\n3")


def test_csv_of_one_long_line_is_not_held_as_texts() -> None:
    body = b"12," * 100_000 + b"12"
    tracemalloc.start()
    assert decode(CSV, body).shape == (1, 100_001)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * len(body)


def test_csv_of_too_many_lines_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_LINES == 250_000
    monkeypatch.setattr(csv_codec, "MAX_LINES", 25)
    assert decode(CSV, b"0\n" * 25).shape == (25, 1)
    with pytest.raises(TooLargeError, match="more than 25 lines; send it in parts"):
        decode(CSV, b"0\n" * 26)


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


DTYPES = ["|u1", "<u2", "<u4", "<u8", "|i1", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8"]
ARRAYS = arrays(
    st.sampled_from(DTYPES), array_shapes(min_dims=0, max_dims=6, min_side=0, max_side=4)
)


@given(ARRAYS, st.sampled_from(["C", "F"]), st.sampled_from([(1, 0), (2, 0), None]))
def test_npy_of_any_header_is_read_as_numpy_reads_it(
    array: NDArray[np.generic], order: Literal["C", "F"], version: tuple[int, int] | None
) -> None:
    file = io.BytesIO()
    npformat.write_array(file, np.asarray(array, order=order), version=version)
    found = CODECS[NPY].decode(file.getvalue())
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == array.tobytes()


@given(
    ARRAYS,
    st.lists(st.tuples(st.integers(0, 100), st.integers(0, 1), st.binary(max_size=3)), min_size=1),
)
def test_a_changed_npy_is_refused_or_read_as_numpy_reads_it(
    array: NDArray[np.generic], changes: list[tuple[int, int, bytes]]
) -> None:
    body = npy(array)
    for place, removed, added in changes:
        body = body[:place] + added + body[place + removed :]
    try:
        found = CODECS[NPY].decode(body)
    except RequestError:
        return
    expected = np.load(io.BytesIO(body), allow_pickle=False)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.tobytes() == expected.tobytes()


@given(
    st.text(
        "{}()[]'\"\\:, \n\t\x0b\xa00123456789truefalseTFdescrshapoy<|iuf-+_.\u00b2", max_size=120
    )
)
def test_a_made_up_npy_header_is_refused_or_read_as_numpy_reads_it(middle: str) -> None:
    for text in (middle, f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({middle}), }}\n"):
        body = with_header(text, b"")
        try:
            found = CODECS[NPY].decode(body)
        except RequestError:
            continue
        assert found.shape == np.load(io.BytesIO(body), allow_pickle=False).shape


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
