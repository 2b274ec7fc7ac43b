"""Large bodies of numbers: read a piece at a time, they are what they are at once."""

import random

import numpy as np
import pytest

from serve.errors import RequestError
from serve.formats import json_numbers
from serve.formats.arrays import Numbers
from serve.formats.json_codec import decode_json

NUMBERS = ("0", "255", "-7", "1e3", "-0.5E2", "0.1307", "1e999", "18446744073709551616")
CHANGES = (",", "[", "]", "}", "1", "-", ".", "e", " ", '"a"', "")


def decoded(body: bytes, piece_bytes: int, patch: pytest.MonkeyPatch) -> Numbers | str:
    patch.setattr(json_numbers, "PIECE_BYTES", piece_bytes)
    try:
        return decode_json(body)
    except RequestError as error:
        return f"{error.status} {error}"


def lists(generator: random.Random, depth: int) -> str:
    if depth == 0:
        return generator.choice(NUMBERS[:-2] if generator.random() < 0.99 else NUMBERS)
    count = generator.randint(0, 4) if generator.random() < 0.1 else 3
    comma = generator.choice((",", ", "))
    return f"[{comma.join(lists(generator, depth - 1) for _ in range(count))}]"


def body(generator: random.Random) -> bytes:
    """Nested lists of numbers; in every third, something is changed."""
    text = lists(generator, generator.randint(1, 4))
    if generator.random() < 0.3:
        text = f'{{"instances": {text}}}'
    if generator.random() < 0.3:
        place = generator.randrange(len(text) + 1)
        text = text[:place] + generator.choice(CHANGES) + text[place + generator.randint(0, 1) :]
    return text.encode()


def test_pieces_give_the_numbers_or_the_error_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = random.Random(0)
    for _ in range(4000):
        content = body(generator)
        pieces, whole = (decoded(content, size, monkeypatch) for size in (8, 10**9))
        if isinstance(whole, str):
            assert pieces == whole, content
        else:
            assert isinstance(pieces, np.ndarray), content
            assert pieces.shape == whole.shape, content
            assert pieces.tolist() == whole.tolist(), content


@pytest.mark.parametrize("text", ['[["a"]', "{}", '{"inputs": [1]}', "1234567890", "[true, false]"])
def test_what_is_no_list_of_numbers_is_left_to_the_parser(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_numbers, "PIECE_BYTES", 1)
    assert json_numbers.read_large(text.encode()) is None
