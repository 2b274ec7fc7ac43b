"""The codec of `text/csv`: one input a line, without a header."""

import io
from array import array
from collections.abc import Iterator

import numpy as np

from serve.errors import BadRequestError, TooLargeError, UnprocessableError
from serve.formats.arrays import Floats, Numbers
from serve.formats.text import decode_text

MAX_LINES = 250_000
"""Lines of a body; each costs a microsecond or more, however short it is."""
_CELLS_AT_ONCE = 16_384
"""Cells of a line that are texts in memory at once, of 60 bytes each."""


def decode_csv(body: bytes) -> Numbers:
    """Decode lines of numbers to an array of shape `(lines, numbers)`; skips empty lines.

    Raises:
        BadRequestError: A cell is not a number.
        TooLargeError: There are more than `MAX_LINES`.
        UnprocessableError: The lines differ in length.
    """
    decode_text(body)
    numbers, length = array("d"), 0
    lines = io.TextIOWrapper(io.BytesIO(body), "utf-8-sig", newline=None)
    for number, line in enumerate(lines, start=1):
        if number > MAX_LINES:
            raise TooLargeError(f"the body has more than {MAX_LINES} lines; send it in parts")
        if not line.isspace():
            before = len(numbers)
            for cells in _split_cells(line):
                numbers.extend(_parse_cells(number, cells, strict="_" in line))
            count = len(numbers) - before
            length = length or count
            if count != length:
                raise UnprocessableError(f"line {number} has {count} numbers, not {length}")
    return np.frombuffer(numbers).reshape(-1, length)


def _split_cells(line: str) -> Iterator[list[str]]:
    rest = [line]
    while rest:
        cells = rest[0].split(",", _CELLS_AT_ONCE)
        rest = cells[_CELLS_AT_ONCE:]
        yield cells[:_CELLS_AT_ONCE]


def _parse_cells(number: int, cells: list[str], *, strict: bool) -> list[float]:
    """Parse cells of a line; `strict` looks for 1_000, which only Python takes as a number."""
    try:
        if strict and not all(map(_is_number, cells)):
            raise ValueError("a number has no underscore")
        return list(map(float, cells))
    except ValueError as error:
        wrong = next(cell for cell in cells if not _is_number(cell)).strip("\n")
        raise BadRequestError(f"line {number}: {wrong[:40]!r} is not a number") from error


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def encode_csv(outputs: Floats) -> bytes:
    """Encode outputs as a line for each input, its numbers flat in row-major order."""
    rows = outputs.reshape(len(outputs), -1).tolist()
    return "".join(f"{','.join(map(repr, row))}\n" for row in rows).encode()
