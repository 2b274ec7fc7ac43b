"""Large bodies of numbers in JSON, parsed a piece at a time.

Parsed at once, 6 MB of them are 50 MB of Python's floats, and hold Python's lock for as long as it
takes. Each innermost list becomes part of an array, and an empty list in what is parsed last, the
lists around them.
"""

import re
from array import array

import numpy as np
import orjson

from serve.errors import UnprocessableError
from serve.formats.arrays import Numbers

PIECE_BYTES = 64 * 1024
"""Parsed at once, and a body no larger is no large one."""
RAGGED = "the lists in the body differ in length or depth"
_OF_NUMBERS = b"-+.0123456789eE, \t\r\n[]"
_OBJECT = b'{"instances":}'.translate(None, _OF_NUMBERS)
_INNERMOST = re.compile(rb"\[[^\[\]]*\]")


def read_large(body: bytes) -> Numbers | None:
    """Read a body of nested lists, or of an object with such "instances"; None for any other body.

    Raises UnprocessableError if its lists are ragged.
    """
    if len(body) <= PIECE_BYTES or body.translate(None, _OF_NUMBERS) not in (b"", _OBJECT):
        return None
    numbers, lengths = array("d"), []

    def parse(match: re.Match[bytes]) -> bytes:
        before = len(numbers)
        _parse_list(match[0], numbers)
        lengths.append(len(numbers) - before)
        return b"[]"

    try:
        outer = orjson.loads(_INNERMOST.sub(parse, body))
        lists = np.array(outer["instances"] if isinstance(outer, dict) else outer)
    except (ValueError, KeyError, RecursionError):
        return None  # The whole is parsed again, to say where it is wrong.
    if lists.size or not lengths:
        return None  # A number beside lists, or no list at all.
    if len(set(lengths)) > 1:
        raise UnprocessableError(RAGGED)
    return np.frombuffer(numbers).reshape(*lists.shape[:-1], lengths[0])


def _parse_list(text: bytes, numbers: "array[float]") -> None:
    """Append the numbers of a list; raises ValueError if it is no JSON."""
    start, last = 1, len(text) - 1
    while start <= last:
        comma = text.find(b",", start + PIECE_BYTES)
        end = last if comma < 0 else comma
        values = orjson.loads(b"[%b]" % text[start:end])
        if not values and start > 1:
            raise ValueError("a number is missing after a comma")
        numbers.frombytes(np.array(values, np.float64).tobytes())
        start = end + 1
