"""The codec of `application/json`: a nested list of numbers, or `{"instances": list}`."""

import json
from collections.abc import Iterator
from typing import NoReturn

import numpy as np
import orjson

from serve.errors import BadRequestError, NotAcceptableError, UnprocessableError
from serve.formats.arrays import Floats, Numbers
from serve.formats.text import decode_text

_MAX_QUOTED = 40
"""Longest part of a value that an error quotes."""


def decode_json(body: bytes) -> Numbers:
    """Decode a body of nested lists, as they are or as the "instances" of an object.

    Raises:
        BadRequestError: The body is not JSON, or has something other than numbers.
        UnprocessableError: Its lists are ragged, or a number is too large.
    """
    value = parse_json(body)
    if isinstance(value, dict):
        value = _instances(value, body)
    # NumPy takes a boolean as a number, so a body that may have one is searched for it.
    return to_array(value, suspect=b"true" in body or b"false" in body)


def parse_json(body: bytes) -> object:
    """Parse a body of JSON; raises a RequestError that says where it is wrong."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return _parse_slowly(decode_text(body))


def _parse_slowly(text: str) -> object:
    """Parse what orjson refuses: for the place of a mistake, and for integers of any size."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise BadRequestError(f"the body is not JSON: {error.msg} at {where}") from error
    except RecursionError as error:
        raise BadRequestError("the body is JSON nested too deeply to hold images") from error
    except ValueError as error:  # An integer of thousands of digits.
        raise UnprocessableError("a number in the body has too many digits") from error


def _instances(value: dict[str, object], body: bytes) -> object:
    if "instances" not in value:
        raise BadRequestError('the body has no "instances"; send a list or {"instances": list}')
    if body.count(b'"instances"') > 1:
        pairs = json.loads(decode_text(body), object_pairs_hook=list)
        if [name for name, _ in pairs].count("instances") > 1:
            raise BadRequestError('the body has "instances" more than once')
    return value["instances"]


def _refuse_constant(constant: str) -> NoReturn:
    raise UnprocessableError(f"the body has {constant} where a finite number belongs")


def to_array(value: object, *, suspect: bool) -> Numbers:
    """Convert nested lists to an array of numbers.

    Args:
        value: The lists, or a single number.
        suspect: Whether they may have booleans, which are searched for and refused.

    Raises:
        BadRequestError: They have something other than numbers.
        UnprocessableError: They are ragged, or a number is too large.
    """
    try:
        array = np.array(value)
    except ValueError as error:
        _refuse_non_numbers(value)
        raise UnprocessableError("the lists in the body differ in length or depth") from error
    if suspect or array.dtype.kind not in "iuf":
        _refuse_non_numbers(value)
    if array.dtype.kind not in "iuf":
        raise UnprocessableError("a number in the body is too large")
    return array


def _refuse_non_numbers(value: object) -> None:
    for leaf in _leaves(value):
        if isinstance(leaf, bool) or not isinstance(leaf, int | float):
            quoted = json.dumps(leaf)[:_MAX_QUOTED]
            raise BadRequestError(f"the body has {quoted} where a number belongs")


def _leaves(value: object) -> Iterator[object]:
    """Yield the items of nested lists that are no lists; without recursion, for any depth."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending.extend(reversed(item))
        else:
            yield item


def check_finite(outputs: Floats) -> None:
    """Raise NotAcceptableError for infinite outputs, which JSON cannot hold."""
    if not np.isfinite(outputs).all():
        raise NotAcceptableError(
            "the model's output is infinite in places, which JSON cannot hold; /invocations gives "
            "it as text/csv or application/x-npy"
        )


def encode_json(outputs: Floats) -> bytes:
    """Encode outputs as nested lists; raises NotAcceptableError for infinite ones."""
    check_finite(outputs)
    return orjson.dumps(outputs.tolist())
