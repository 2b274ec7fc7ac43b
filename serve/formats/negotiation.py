"""Content negotiation: the type of a request's body, and the type of its reply."""

import math
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import NamedTuple

from serve.errors import NotAcceptableError, UnsupportedTypeError

MAX_QUOTED = 80
"""Longest part of a header that an error quotes."""
MAX_CHOICES = 8
"""Number of types of an Accept header that are tried."""
ANYTHING = "*/*"
CURL_DEFAULT = "application/x-www-form-urlencoded"
"""Type that curl gives to whatever it sends, unless it is told another."""
_TEXTS = ("application/json", "text/csv")
_CHARSETS = ("utf-8", "utf8", "us-ascii", "ascii")
"""Charsets of texts that are read as UTF-8."""


class _Range(NamedTuple):
    """One entry of an Accept header; its pattern may have wildcards."""

    pattern: str
    quality: float
    place: int

    def specificity(self, media_type: str) -> int:
        """Rate how the entry fits a type: 3 exactly, 2 by its kind, 1 as anything, 0 not."""
        kind = media_type.partition("/")[0]
        return {media_type: 3, f"{kind}/*": 2, "*/*": 1}.get(self.pattern, 0)


def media_type(header: str | None) -> str:
    """Strip a content type of its parameters and lower its case; empty for no header."""
    return (header or "").partition(";")[0].strip().lower()


def charset(header: str | None) -> str:
    """Return the charset of a content type in lower case, by default UTF-8."""
    for parameter in (header or "").split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"').lower()
    return "utf-8"


@lru_cache(maxsize=256)
def content_type(header: str | None, read: Collection[str], *, guessed: bool = False) -> str:
    """Return the type of a request's body.

    Args:
        header: The request's Content-Type.
        read: Types that are read.
        guessed: Whether `CURL_DEFAULT` is returned too: such a body is read in order to say what
            type it should have had.

    Raises:
        UnsupportedTypeError: The type is not read, or is a text in a charset that is not.
    """
    kind = media_type(header)
    if guessed and kind == CURL_DEFAULT:
        return kind
    if kind in _TEXTS and (name := charset(header)) not in _CHARSETS:
        raise UnsupportedTypeError(f"charset {name[:MAX_QUOTED]!r} is not read; send utf-8")
    if kind not in read:
        reason = (
            f"content type {kind[:MAX_QUOTED]!r} is not read"
            if kind
            else "there is no Content-Type"
        )
        raise UnsupportedTypeError(f"{reason}; send {_join(read)}")
    return kind


@lru_cache(maxsize=256)
def acceptable(accept: str | None, offered: Sequence[str]) -> str:
    """Choose the offered type that an Accept header prefers, by quality and then by order.

    Raises:
        NotAcceptableError: The header allows none of them.
    """
    if accept is None or not accept.strip():
        return offered[0]
    ranges = _ranges(accept)
    best = max(offered, key=lambda name: _preference(name, ranges))
    if _preference(best, ranges)[0] <= 0:
        raise NotAcceptableError(
            f"nothing that Accept {accept[:MAX_QUOTED]!r} allows can be sent; "
            f"accept {_join(offered)}"
        )
    return best


@lru_cache(maxsize=256)
def choices(accept: str, known: Sequence[str]) -> tuple[str, ...]:
    """List the types that an Accept header allows, the preferred first, for handlers that give any.

    A wildcard stands for the known types that fit it; where none fits, for itself. An empty header
    allows everything.

    Raises:
        NotAcceptableError: The header allows nothing.
    """
    ranges = [entry for entry in _ranges(accept) if entry.pattern] or [_Range(ANYTHING, 1.0, 0)]
    allowed = [entry for entry in ranges if entry.quality > 0]
    allowed.sort(key=lambda entry: (-entry.quality, entry.place))
    types = [name for entry in allowed for name in _expand(entry, known, ranges)]
    if not types:
        raise NotAcceptableError(
            f"nothing that Accept {accept[:MAX_QUOTED]!r} allows can be sent; accept {_join(known)}"
        )
    return tuple(dict.fromkeys(types))[:MAX_CHOICES]


def concrete(choice: str, otherwise: str) -> str:
    """Return the choice, or `otherwise` where it is still a wildcard."""
    return otherwise if "*" in choice else choice


def _expand(entry: _Range, known: Sequence[str], ranges: Sequence[_Range]) -> Sequence[str]:
    if "*" not in entry.pattern:
        return [entry.pattern]
    fits = [name for name in known if entry.specificity(name)]
    return [name for name in fits if _preference(name, ranges)[0] > 0] if fits else [entry.pattern]


def _ranges(accept: str) -> list[_Range]:
    entries = (entry.split(";") for entry in accept.split(","))
    return [
        _Range(pattern.strip().lower(), _quality(parameters), place)
        for place, (pattern, *parameters) in enumerate(entries)
    ]


def _quality(parameters: Sequence[str]) -> float:
    """Return the value of `q`, by default 1; a wrong one counts as 0."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                quality = float(value)
            except ValueError:
                return 0.0
            return quality if math.isfinite(quality) and 0 <= quality <= 1 else 0.0
    return 1.0


def _preference(name: str, ranges: Sequence[_Range]) -> tuple[float, int]:
    """Rate a type by the quality of the entry that fits it best, then by that entry's place."""
    fits = [(entry.specificity(name), entry.quality, -entry.place) for entry in ranges]
    closest, quality, place = max(fits)
    return (quality, place) if closest else (0.0, 0)


def _join(names: Collection[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last
