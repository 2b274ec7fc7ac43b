"""The codec of `text/csv`: one input a line, without a header."""

import numpy as np

from serve.errors import BadRequestError, UnprocessableError
from serve.formats.arrays import Floats, Numbers
from serve.formats.text import decode_text


def decode_csv(body: bytes) -> Numbers:
    """Decode lines of numbers to an array of shape `(lines, numbers)`; skips empty lines.

    Raises:
        BadRequestError: A cell is not a number.
        UnprocessableError: The lines differ in length.
    """
    lines = enumerate(decode_text(body).splitlines(), start=1)
    rows = [(number, _parse_row(number, line)) for number, line in lines if line.strip()]
    length = len(rows[0][1])
    for number, row in rows:
        if len(row) != length:
            raise UnprocessableError(f"line {number} has {len(row)} numbers, not {length}")
    return np.array([row for _, row in rows])


def _parse_row(number: int, line: str) -> list[float]:
    cells = line.split(",")
    try:
        if "_" in line:  # Only Python takes 1_000 as a number.
            raise ValueError("a number has no underscore")
        return list(map(float, cells))
    except ValueError as error:
        wrong = next(cell for cell in cells if not _is_number(cell))
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
