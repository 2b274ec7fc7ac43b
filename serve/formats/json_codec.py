"""The codec of `application/json`: a nested list of numbers, or `{"instances": list}`."""

import json
import struct
from typing import Any

import numpy as np
import orjson

from serve.errors import BadRequestError, NotAcceptableError, TooLargeError, UnprocessableError
from serve.formats.arrays import Floats, Numbers
from serve.formats.json_numbers import (
    RAGGED,
    NumberList,
    is_large,
    parse_large,
    refuse_constant,
)
from serve.formats.text import decode_text

MAX_CONTAINERS = 250_000
"""Lists and objects of a body, each of which takes a microsecond; 9,000 images of 28 rows have as
many."""
MAX_TEXTS = 50_000
"""Texts of a body, likewise."""
_MAX_DEPTH = 64
"""Most axes of an array in NumPy."""
_TOO_DEEP = "the body is JSON nested too deeply to hold images"
_MAX_QUOTED = 40
"""Longest part of a value that an error quotes."""


def decode_json(body: bytes) -> Numbers:
    """Decode a body of nested lists, as they are or as the "instances" of an object.

    Raises:
        BadRequestError: The body is not JSON, or has something other than numbers.
        UnprocessableError: Its lists are ragged, or a number is too large.
    """
    return to_numbers(parse_json(body), body)


def to_numbers(value: object, body: bytes) -> Numbers:
    """Convert the value that a body was parsed to, as `decode_json` does."""
    if isinstance(value, dict):
        value = _instances(value, body)
        return to_array(value, suspect=may_have_others(body, quotes=2))
    return to_array(value, suspect=may_have_others(body))


def may_have_others(body: bytes, *, quotes: int = 0) -> bool:
    """Whether a JSON body may have texts, booleans or nulls beside its numbers.

    Args:
        body: The body.
        quotes: Number of quotes that its known keys have.
    """
    # One byte is found 20 times as fast as a word, and numbers have neither of these.
    has_word = (b"u" in body and (b"true" in body or b"null" in body)) or (
        b"f" in body and b"false" in body
    )
    return has_word or _has_more_quotes(body, quotes)


def _has_more_quotes(body: bytes, count: int) -> bool:
    # Counting looks at each byte; a search for one, as here, at many at once.
    place = -1
    for _ in range(count + 1):
        place = body.find(b'"', place + 1)
        if place < 0:
            return False
    return True


def parse_json(body: bytes) -> object:
    """Parse a body of JSON; the numbers of a large one to a `NumberList`.

    Raises a RequestError that says where it is wrong, or too large.
    """
    _check_size(body)
    if is_large(body):
        return parse_large(body)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return _parse_slowly(body)


def _check_size(body: bytes) -> None:
    """Count what costs memory before any of it is made."""
    if len(body) <= min(MAX_CONTAINERS, MAX_TEXTS):
        return
    counts = (
        (body.count(b"[") + body.count(b"{"), MAX_CONTAINERS, "lists and objects"),
        (body.count(b'"') // 2, MAX_TEXTS, "texts"),
    )
    for count, most, kind in counts:
        if count > most:
            raise TooLargeError(
                f"the body has {count} {kind}, of at most {most}; send flat rows of numbers, or "
                "application/x-npy to /invocations"
            )


def _parse_slowly(body: bytes) -> Any:
    """Parse by Python's own parser: for the place of a mistake, and integers of any size."""
    try:
        return json.loads(decode_text(body), parse_constant=refuse_constant)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise BadRequestError(f"the body is not JSON: {error.msg} at {where}") from error
    except RecursionError as error:
        raise BadRequestError(_TOO_DEEP) from error
    except ValueError as error:  # An integer of thousands of digits.
        raise UnprocessableError("a number in the body has too many digits") from error


def _instances(value: dict[str, object], body: bytes) -> object:
    if "instances" not in value:
        raise BadRequestError('the body has no "instances"; send a list or {"instances": list}')
    if _has_more_quotes(body, 2) and body.count(b'"instances"') > 1:
        raise BadRequestError('the body has "instances" more than once')
    return value["instances"]


def to_array(value: object, *, suspect: bool) -> Numbers:
    """Convert nested lists to an array of numbers.

    Args:
        value: The lists, or a single number.
        suspect: Whether they may have something else, which is searched for and refused.

    Raises:
        BadRequestError: They have something other than numbers.
        UnprocessableError: They are ragged, or a number is too large.
    """
    if isinstance(value, NumberList):
        return value.array
    if suspect:  # NumPy would make an array as wide as the longest text.
        _refuse_others(value)
    array = _pack(value) if isinstance(value, list) else None
    if array is not None:
        return array
    try:
        array = np.array(value)
    except (ValueError, RecursionError) as error:
        if _depth(value) > _MAX_DEPTH:
            raise BadRequestError(_TOO_DEEP) from error
        raise UnprocessableError(RAGGED) from error
    if array.dtype.kind not in "iuf":
        _refuse_others(value)
        raise UnprocessableError("a number in the body is too large")
    return array


def _pack(value: list[Any]) -> Numbers | None:
    """Convert lists of numbers, in half of NumPy's time; None for what only NumPy can judge."""
    shape, items = [len(value)], value
    try:
        while items and type(items[0]) is list:
            if len(shape) >= _MAX_DEPTH or len(set(map(len, items))) > 1:
                return None
            shape.append(len(items[0]))
            lists, items = items, []
            for item in lists:  # Twice as fast as a chain of them.
                items += item
        packed = struct.pack(f"{len(items)}d", *items)
    except (TypeError, OverflowError, struct.error):
        return None
    return np.frombuffer(packed).reshape(shape) if packed else None


def _refuse_others(value: object) -> None:
    """Raise BadRequestError for the first item of nested lists that is no number."""
    pending = [[value]]
    while pending:
        items = pending.pop()
        kinds = set(map(type, items))
        if not kinds <= {int, float, list}:
            other = next(item for item in items if type(item) not in (int, float, list))
            raise BadRequestError(f"the body has {quote(other)} where a number belongs")
        if list in kinds:
            pending.extend(item for item in reversed(items) if type(item) is list)


def _depth(value: object) -> int:
    """Count the lists around the first item of nested lists."""
    depth = 0
    while isinstance(value, list) and value:
        value, depth = value[0], depth + 1
    return depth


def quote(value: object) -> str:
    """Quote a value of JSON in an error: a text shortened, a list or an object by its kind."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return json.dumps(value[:_MAX_QUOTED] if isinstance(value, str) else value)


def check_finite(outputs: Floats) -> None:
    """Raise NotAcceptableError for infinite outputs, which JSON cannot hold."""
    if not np.isfinite(outputs).all():
        raise NotAcceptableError(
            "the model's output is infinite in places, which JSON cannot hold; /invocations gives "
            "it as text/csv or application/x-npy"
        )


def encode_json(outputs: Floats) -> bytes:
    """Encode outputs as nested lists; raises NotAcceptableError for infinite ones."""
    body = orjson.dumps(outputs.tolist())
    if b"null" in body:  # What JSON cannot hold.
        check_finite(outputs)
    return body
