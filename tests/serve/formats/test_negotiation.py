"""Content negotiation by Content-Type and Accept headers."""

import pytest

from serve.errors import NotAcceptableError, UnsupportedTypeError
from serve.formats.codecs import CODECS
from serve.formats.negotiation import acceptable, content_type

JSON, CSV, NPY = TYPES = tuple(CODECS)


@pytest.mark.parametrize("header", ["text/csv", "TEXT/CSV; charset=utf-8", ' text/csv ;a="b"'])
def test_content_type_is_read_without_parameters(header: str) -> None:
    assert content_type(header, TYPES) == CSV


@pytest.mark.parametrize(
    "header", [None, "", "text/plain", "application/json, text/csv", "é" * 500]
)
def test_unknown_content_type_lists_the_known_ones(header: str | None) -> None:
    with pytest.raises(UnsupportedTypeError, match="text/csv or application/x-npy"):
        content_type(header, TYPES)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("text/*", CSV),
        ("application/x-npy", NPY),
        ("text/csv, application/json", CSV),
        ("application/json;q=0.9", JSON),
        ("text/csv;q=0.5, application/x-npy;q=0.8", NPY),
        ("image/png, text/csv;q=0.1", CSV),
        ("*/*, application/json;q=0", CSV),
        ("*/*;q=0.1, application/x-npy", NPY),
        ("Application/X-NPY; Q=1.0", NPY),
        ("text/csv;q=x, */*;q=0.2", JSON),
    ],
)
def test_accept_is_negotiated(accept: str | None, expected: str) -> None:
    assert acceptable(accept, TYPES) == expected


@pytest.mark.parametrize(
    "accept", ["image/png", "application/json;q=0", "json", ",", "text/csv;q=2"]
)
def test_an_accept_header_without_a_known_type_lists_the_known_ones(accept: str) -> None:
    with pytest.raises(NotAcceptableError, match="accept application/json, text/csv or"):
        acceptable(accept, TYPES)
