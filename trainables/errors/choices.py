"""Names that somebody may choose from, and the sentence for a name that is none of them."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

LEAST_LETTERS = 3
"""Letters from which on the beginning of a name is enough to tell which one was meant."""


def is_one(value: Any, names: Iterable[str]) -> bool:
    """Whether a value of any type, as a file may have it, is one of the names."""
    return isinstance(value, str) and value in tuple(names)


def unknown(value: Any, names: Iterable[str], noun: str = "") -> str:
    """Say that a value is none of the names, and which one was meant, or else which there are.

    `noun` says what the names are of, as in `unknown key 'metirc'; did you mean 'metric'?`.
    """
    names = tuple(names)
    said = f"unknown {noun} {value!r}" if noun else f"unknown {value!r}"
    meant = _meant(value, names) if isinstance(value, str) else None
    return (
        f"{said}; did you mean {meant!r}?" if meant else f"{said}; choose from {', '.join(names)}"
    )


def _meant(value: str, names: tuple[str, ...]) -> str | None:
    """The name that is nearest to a text, where one is near; capitals do not matter."""
    folded = {name.casefold(): name for name in names}
    near = get_close_matches(value.casefold(), folded, n=1)
    if not near and len(value) >= LEAST_LETTERS:
        near = [name for name in folded if name.startswith(value.casefold())]
    return folded[near[0]] if len(near) == 1 else None
