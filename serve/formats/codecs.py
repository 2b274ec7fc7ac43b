"""Bytes to numbers and back: one codec for each content type."""

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn

import numpy as np
import orjson
from numpy.typing import NDArray

from serve.errors import BadRequestError, NotAcceptableError, UnprocessableError

Numbers = NDArray[Any]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Codec:
    """One content type: how its bytes are read, and how outputs are written in it."""

    decode: Callable[[bytes], Numbers]
    encode: Callable[[Floats], bytes]


# --- JSON: a nested list, or {"instances": a nested list}


def _read_json(body: bytes) -> Numbers:
    value = read_json(body)
    if isinstance(value, dict):
        value = _instances(value, body)
    # A boolean counts as a number to NumPy, so a body that may hold one is looked through.
    return numbers(value, suspect=b"true" in body or b"false" in body)


def read_json(body: bytes) -> object:
    """What a body of JSON says, or a refusal that tells what is wrong with it."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return _parsed(_text(body))


def _parsed(text: str) -> object:
    """What a quick reader refuses: mistakes are told one by one, integers may be of any size."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise BadRequestError(f"the body is not JSON: {error.msg} at {where}") from error
    except RecursionError as error:
        raise BadRequestError("the body is JSON nested too deeply to hold images") from error
    except ValueError as error:  # What is left is an integer of thousands of digits.
        raise UnprocessableError("a number in the body has too many digits") from error


def _instances(value: dict[str, object], body: bytes) -> object:
    if "instances" not in value:
        raise BadRequestError('the body has no "instances"; send a list or {"instances": list}')
    if body.count(b'"instances"') > 1:
        pairs = json.loads(_text(body), object_pairs_hook=list)
        if [name for name, _ in pairs].count("instances") > 1:
            raise BadRequestError('the body has "instances" more than once')
    return value["instances"]


def _refuse_constant(constant: str) -> NoReturn:
    raise UnprocessableError(f"the body has {constant} where a finite number belongs")


def numbers(value: object, *, suspect: bool) -> Numbers:
    """Nested lists as an array of numbers; where anything else is suspected, it is looked for."""
    try:
        array = np.array(value)
    except ValueError as error:
        _refuse_text(value)
        raise UnprocessableError("the lists in the body differ in length or depth") from error
    if suspect or array.dtype.kind not in "iuf":
        _refuse_text(value)
    if array.dtype.kind not in "iuf":
        raise UnprocessableError("a number in the body is too large")
    return array


def _refuse_text(value: object) -> None:
    for leaf in _leaves(value):
        if isinstance(leaf, bool) or not isinstance(leaf, int | float):
            shown = json.dumps(leaf)[:40]
            raise BadRequestError(f"the body has {shown} where a number belongs")


def _leaves(value: object) -> Iterator[object]:
    """Everything in nested lists that is no list; without recursion, so at any depth."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting.extend(reversed(item))
        else:
            yield item


def check_finite(outputs: Floats) -> None:
    """Raise `NotAcceptableError` for outputs that JSON cannot hold."""
    if not np.isfinite(outputs).all():
        raise NotAcceptableError(
            "the model's output is infinite in places, which JSON cannot hold; /invocations gives "
            "it as text/csv or application/x-npy"
        )


def _write_json(outputs: Floats) -> bytes:
    check_finite(outputs)
    return orjson.dumps(outputs.tolist())


# --- CSV: one image a line, no header


def _read_csv(body: bytes) -> Numbers:
    lines = enumerate(_text(body).splitlines(), start=1)
    rows = [(number, _row(number, line)) for number, line in lines if line.strip()]
    length = len(rows[0][1])
    for number, row in rows:
        if len(row) != length:
            raise UnprocessableError(f"line {number} has {len(row)} numbers, not {length}")
    return np.array([row for _, row in rows])


def _row(number: int, line: str) -> list[float]:
    cells = line.split(",")
    try:
        if "_" in line:  # Python reads 1_000 as a number; nobody else does.
            raise ValueError("a number has no underscore")
        return list(map(float, cells))
    except ValueError as error:
        culprit = next(cell for cell in cells if not _is_number(cell))
        raise BadRequestError(f"line {number}: {culprit[:40]!r} is not a number") from error


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _write_csv(outputs: Floats) -> bytes:
    rows = outputs.reshape(len(outputs), -1).tolist()
    return "".join(f"{','.join(map(repr, row))}\n" for row in rows).encode()


# --- NPY: read by hand, because NumPy's own reader unpickles, or allocates what a header claims

_NPY_MAGIC = b"\x93NUMPY"
_NPY_LENGTH_BYTES = {b"\x01\x00": 2, b"\x02\x00": 4}
_NPY_HEADER_LIMIT = 1024
_NPY_DTYPES = ("|u1", "<u2", "<u4", "<u8", "|i1", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8")
_NPY_FIELD = re.compile(r"\s*'(\w+)'\s*:\s*('[^']*'|True|False|\([0-9,\s]*\))\s*,?\s*")
_NPY_KEYS = {"descr", "fortran_order", "shape"}
_NPY_MAX_AXES = 8


@dataclass(frozen=True)
class _NpyHeader:
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    size: int
    """Bytes of the numbers that are to follow."""


def _read_npy(body: bytes) -> Numbers:
    start = 8 + _NPY_LENGTH_BYTES.get(body[6:8], 0)
    if body[:6] != _NPY_MAGIC or start == 8:
        raise BadRequestError("the body is not an NPY file of version 1 or 2")
    end = start + int.from_bytes(body[8:start], "little")
    if end > min(len(body), _NPY_HEADER_LIMIT):
        raise BadRequestError("the body's NPY header is cut off or too long")
    header = _npy_header(body[start:end])
    if header.size != len(body) - end:
        raise BadRequestError(
            f"the body's NPY header declares {header.size} bytes of numbers, "
            f"but {len(body) - end} follow it"
        )
    values = np.frombuffer(body, header.dtype, -1, end) if header.size else np.empty(0)
    return values.reshape(header.shape, order="F" if header.fortran else "C")


@lru_cache(maxsize=64)  # Clients send the same few headers again and again.
def _npy_header(text: bytes) -> _NpyHeader:
    fields = _npy_fields(text.decode("latin-1"))
    descr = fields["descr"].strip("'")
    if descr not in _NPY_DTYPES:
        known = ", ".join(_NPY_DTYPES)
        raise BadRequestError(f"the body's NPY dtype is {descr[:40]!r}; send one of {known}")
    sizes = [size.strip() for size in fields["shape"].strip("()").split(",") if size.strip()]
    if len(sizes) > _NPY_MAX_AXES or not all(size.isdigit() and len(size) < 10 for size in sizes):
        raise BadRequestError(f"the body's NPY shape is unreadable: {fields['shape'][:40]}")
    shape, dtype = tuple(map(int, sizes)), np.dtype(descr)
    return _NpyHeader(
        dtype, shape, fields["fortran_order"] == "True", math.prod(shape) * dtype.itemsize
    )


def _npy_fields(text: str) -> dict[str, str]:
    """The three entries of an NPY header, which is written as a Python dictionary."""
    inner = text.strip()
    fields: dict[str, str] = {}
    position = 1
    while field := _NPY_FIELD.match(inner, position):
        fields[field[1]] = field[2]
        position = field.end()
    kinds = {key: value[0] for key, value in fields.items()}
    shaped = kinds.get("descr") == "'" and kinds.get("shape") == "("
    if not (shaped and set(fields) == _NPY_KEYS and kinds["fortran_order"] in "TF"):
        raise BadRequestError("the body's NPY header is not of dtype, order and shape")
    if inner[:1] != "{" or inner[position:] != "}":
        raise BadRequestError("the body's NPY header is not closed as it should be")
    return fields


def _write_npy(outputs: Floats) -> bytes:
    return _npy_start(outputs.shape) + outputs.astype("<f4", copy=False).tobytes()


@lru_cache(maxsize=64)
def _npy_start(shape: tuple[int, ...]) -> bytes:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    padding = -(len(header) + 11) % 64
    text = f"{header}{' ' * padding}\n".encode()
    return b"".join((_NPY_MAGIC, b"\x01\x00", len(text).to_bytes(2, "little"), text))


def _text(body: bytes) -> str:
    """The body as text; one with nothing in it is refused, a byte order mark is not part of it."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRequestError(f"the body is not UTF-8 at byte {error.start}") from error
    if not text.strip():
        raise BadRequestError("the body is empty")
    return text


JSON = "application/json"
CODECS = {
    JSON: Codec(_read_json, _write_json),
    "text/csv": Codec(_read_csv, _write_csv),
    "application/x-npy": Codec(_read_npy, _write_npy),
}
"""The content types that are read and written, the one given without a wish first."""
