"""Names to choose from: what was meant, or what there is."""

from typing import Any

import pytest

from trainables.errors.choices import is_one, unknown

KEYS = ("name", "metric", "mode", "early_stopping", "entry_point")


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("metirc", "metric"),
        ("Metric", "metric"),
        ("METRICS", "metric"),
        ("early-stopping", "early_stopping"),
        ("early", "early_stopping"),
        ("entry", "entry_point"),
    ],
)
def test_a_near_name_is_the_one_that_was_meant(value: str, meant: str) -> None:
    assert unknown(value, KEYS, "key") == f"unknown key {value!r}; did you mean {meant!r}?"


@pytest.mark.parametrize("value", ["", "e", "resources", 3, None, ["metric"], {"metric": 1}])
def test_of_what_is_near_none_all_names_are_told(value: Any) -> None:
    assert not is_one(value, KEYS)
    assert unknown(value, KEYS) == f"unknown {value!r}; choose from {', '.join(KEYS)}"


def test_only_a_text_is_one_of_them() -> None:
    assert is_one("mode", KEYS)
    assert not is_one("mod", "modes")
