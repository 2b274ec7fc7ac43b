"""Messages for a name that is none of those to choose from, such as `did you mean 'metric'?`."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

LEAST_LETTERS = 3
"""Number of letters from which the beginning of a name is taken for the whole."""


def is_one(value: Any, names: Iterable[str]) -> bool:
    """Whether a value, of any type that a file may have, is one of the names."""
    return isinstance(value, str) and value in tuple(names)


def unknown(value: Any, names: Iterable[str], noun: str = "") -> str:
    """Return the message for an unknown name: which one was meant, or else which there are.

    `noun` names what it is a name of, as in `unknown key 'metirc'; did you mean 'metric'?`.
    """
    names = tuple(names)
    message = f"unknown {noun} {value!r}" if noun else f"unknown {value!r}"
    meant = _closest(value, names) if isinstance(value, str) else None
    return (
        f"{message}; did you mean {meant!r}?"
        if meant
        else f"{message}; choose from {', '.join(names)}"
    )


def _closest(value: str, names: tuple[str, ...]) -> str | None:
    """Return the name closest to a text, whatever the case of letters; None if none is close."""
    folded = {name.casefold(): name for name in names}
    near = get_close_matches(value.casefold(), folded, n=1)
    if not near and len(value) >= LEAST_LETTERS:
        near = [name for name in folded if name.startswith(value.casefold())]
    return folded[near[0]] if len(near) == 1 else None
