"""Large JSON, whose numbers are in one nested list, of which a piece at a time is parsed.

Parsed at once, 6 MB of numbers are 100 MB in Python, and hold its lock for as long as it takes.
Here each innermost list becomes part of an array. Of the JSON around the nested list, where it is
replaced by a constant, Python's own parser asks what that is.
"""

import json
import re
from array import array
from typing import NoReturn

import numpy as np
import orjson

from serve.errors import BadRequestError, TooLargeError, UnprocessableError
from serve.formats.arrays import Numbers

MAX_VALUES = 100_000
"""Values of a body that is parsed at once, or around the list of a large one."""
PIECE_BYTES = MAX_NUMBER_BYTES = 64 * 1024
RAGGED = "the lists in the body differ in length or depth"
_OF_NUMBERS = b"-+.0123456789eE, \t\r\n"
_OTHER = re.compile(rb"[^-+.0-9eE, \t\r\n][^,\s]*")
_CONSTANT = "NaN"
"""Takes the place of the list; JSON has none, but the parser reads it."""


class NumberList(list[object]):
    """A nested list of numbers that is parsed to an array already; as a list it is empty."""

    def __init__(self, array: Numbers) -> None:
        super().__init__()
        self.array = array


def is_large(body: bytes) -> bool:
    """Whether a body has so many values that it must not be parsed at once."""
    return len(body) > MAX_VALUES and body.count(b",") > MAX_VALUES


def parse_large(body: bytes) -> object:
    """Parse a large body, with a `NumberList` in place of its largest list.

    Raises:
        BadRequestError: It is not JSON, or has something other than numbers in that list.
        UnprocessableError: Its lists are ragged, or a number is too long.
        TooLargeError: It has too many values outside that list.
    """
    start, end = _find_list(body)
    around = b"%b%b%b" % (body[:start], _CONSTANT.encode(), body[end:])
    if start >= end or around.count(b",") > MAX_VALUES:
        raise TooLargeError(
            f"the body has more than {MAX_VALUES} values outside a nested list of numbers; "
            "send numbers alone, or application/x-npy to /invocations"
        )
    numbers = NumberList(_read_list(body, start, end))
    try:
        if around.count(_CONSTANT.encode()) > 1:
            refuse_constant(_CONSTANT)
        return json.loads(
            around,
            parse_constant=lambda name: numbers if name == _CONSTANT else refuse_constant(name),
        )
    except (ValueError, RecursionError) as error:
        raise BadRequestError("the body is not JSON around its list of numbers") from error


def refuse_constant(constant: str) -> NoReturn:
    """Raise UnprocessableError for NaN or infinity, which Python's parser takes for numbers."""
    raise UnprocessableError(f"the body has {constant} where a finite number belongs")


def _find_list(body: bytes) -> tuple[int, int]:
    """Find the outermost list in the longest stretch without a text; an empty place if none is."""
    start = end = position = 0
    while position <= len(body):
        quote = body.find(b'"', position)
        stop = len(body) if quote < 0 else quote
        if stop - position > end - start:
            start, end = position, stop
        position = stop + 1
    start = body.find(b"[", start, end)
    brace = body.find(b"}", start, end)
    return start, body.rfind(b"]", start, end if brace < 0 else brace) + 1


def _read_list(body: bytes, start: int, end: int) -> Numbers:
    """Read the nested list at a place; raises as `parse_large` does."""
    numbers, lengths, count, outer = array("d"), set[int](), 0, bytearray()
    while (close := body.find(b"]", start, end)) >= 0:
        opening = body.rfind(b"[", start, close)
        if opening < 0:
            outer += body[start : close + 1]
        else:
            outer += body[start:opening] + b"[]"
            before = len(numbers)
            _read_numbers(body, opening + 1, close, numbers)
            lengths.add(len(numbers) - before)
            count += 1
        start = close + 1
    if len(lengths) > 1 or outer.count(b",") != count - 1:
        raise UnprocessableError(RAGGED)
    try:
        lists = orjson.loads(outer)
    except orjson.JSONDecodeError as error:
        raise BadRequestError("the body is not JSON: its lists do not match") from error
    try:
        shape = np.array(lists).shape[:-1]
    except (ValueError, RecursionError) as error:
        raise UnprocessableError(RAGGED) from error
    return np.asarray(numbers).reshape(*shape, lengths.pop())


def _read_numbers(body: bytes, start: int, end: int, numbers: "array[float]") -> None:
    """Append the numbers of an innermost list, the bytes between its brackets."""
    first = start
    while start <= end:
        comma = body.find(b",", start + PIECE_BYTES, end)
        stop = end if comma < 0 else comma
        if stop - start > PIECE_BYTES + MAX_NUMBER_BYTES:
            raise UnprocessableError("a number in the body has too many digits")
        piece = body[start:stop]
        if piece.translate(None, _OF_NUMBERS):
            _refuse_other(piece)
        try:
            values = _parse_piece(b"[%b]" % piece)
            if not len(values) and start > first:
                raise ValueError("a comma is the last byte")
        except ValueError as error:
            raise BadRequestError(
                f"the body is not JSON: a number is wrong or missing behind byte {start}"
            ) from error
        numbers.frombytes(values.tobytes())
        start = stop + 1


def _parse_piece(piece: bytes) -> Numbers:
    try:
        return np.array(orjson.loads(piece), np.float64)
    except orjson.JSONDecodeError:
        values = json.loads(piece)  # It reads 1e999, which is refused for its value.
    try:
        return np.array(values, np.float64)
    except OverflowError as error:
        raise UnprocessableError("a number in the body is too large") from error


def _refuse_other(piece: bytes) -> NoReturn:
    found = _OTHER.search(piece)
    assert found is not None  # The caller has seen one.
    other = found[0][:40].decode("utf-8", "replace")
    if other in (_CONSTANT, "Infinity"):
        refuse_constant(other)
    raise BadRequestError(f"the body has {other} where a number belongs")
