"""Large bodies: read a piece at a time, they are what they are at once."""

import json
import random
import tracemalloc

import numpy as np
import pytest

from serve.errors import RequestError
from serve.formats import json_numbers
from serve.formats.arrays import Numbers
from serve.formats.json_codec import decode_json, parse_json
from serve.formats.json_numbers import MAX_VALUES, NumberList

NUMBERS = ("0", "255", "-7", "1e3", "-0.5E2", "0.1307", "1e999", "18446744073709551616")
CHANGES = (",", "[", "]", "}", "1", "-", ".", "e", " ", '"a"', "")


def decoded(body: bytes, max_values: int, patch: pytest.MonkeyPatch) -> Numbers | str:
    patch.setattr(json_numbers, "MAX_VALUES", max_values)
    try:
        return decode_json(body)
    except RequestError as error:
        return str(error)


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


def test_pieces_give_the_numbers_of_the_whole_or_an_error_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(json_numbers, "PIECE_BYTES", 8)
    generator = random.Random(0)
    for _ in range(4000):
        content = body(generator)
        pieces, whole = (decoded(content, size, monkeypatch) for size in (0, 10**9))
        if isinstance(whole, str):
            assert isinstance(pieces, str), content
        else:
            assert isinstance(pieces, np.ndarray), content
            assert pieces.shape == whole.shape, content
            assert pieces.tolist() == whole.tolist(), content


MANY = ",".join(["0.5"] * (MAX_VALUES + 1))
DEEP = "[" * 2000 + "]" * 2000


@pytest.mark.parametrize(
    ("body", "status", "match"),
    [
        (f"[{MANY},true]", 400, "the body has true where a number belongs"),
        (f"[{MANY},NaN]", 422, "NaN where a finite number belongs"),
        (f"[{MANY},é]", 400, "é where a number belongs"),
        (f"[[{MANY},1],[2]]", 422, "differ in length or depth"),
        (f"[[{MANY}],1]", 422, "differ in length or depth"),
        (f"[[{MANY},1]", 400, "lists do not match"),
        (f"[{MANY},]", 400, "a number is wrong or missing behind byte 393"),
        (f"[{MANY},{'9' * 400}]", 422, "a number in the body is too large"),
        (f"[{MANY},1.2.3]", 400, "a number is wrong or missing behind byte 393"),
        (f"[{MANY},{'1' * 200_000}]", 422, "too many digits"),
        (f'{{"instances": [{MANY},1]', 400, "not JSON around its list of numbers"),
        (f'{{"instances": [{MANY},1], "a": Infinity}}', 422, "Infinity where a finite number"),
        (f'{{"instances": [{MANY},1], "a": NaN}}', 422, "NaN where a finite number"),
        (f'{{"instances": [{MANY},1], "a": {DEEP}}}', 400, "not JSON around its list of numbers"),
        (f'{{"instances": [1], "instances": [{MANY},1]}}', 400, "more than once"),
        (f'[{MANY},"a"]', 413, "more than 100000 values outside a nested list of numbers"),
        (f'{{"a": [{MANY},0], "instances": [{MANY},1]}}', 413, "more than 100000 values outside"),
    ],
)
def test_a_large_body_that_is_not_of_numbers_is_refused(body: str, status: int, match: str) -> None:
    with pytest.raises(RequestError, match=match) as raised:
        decode_json(body.encode())
    assert raised.value.status == status


@pytest.mark.parametrize("after", ["}", ', "d": {}, "e": "]"}'])
def test_the_list_is_found_wherever_it_is(after: str) -> None:
    found = parse_json(f'{{"a": [1], "b": [{{"c": [[{MANY}],[{MANY}]]{after}]}}'.encode())
    assert isinstance(found, dict)
    assert found["a"] == [1]
    numbers = found["b"][0]["c"]
    assert isinstance(numbers, NumberList)
    assert numbers.array.shape == (2, MAX_VALUES + 1)
    assert (numbers.array == 0.5).all()


def test_large_bodies_take_little_more_than_their_numbers() -> None:
    body = json.dumps({"inputs": [{"data": [0.1] * 300_000}]}, separators=(",", ":")).encode()
    tracemalloc.start()
    parse_json(body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * len(body)
