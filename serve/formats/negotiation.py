"""Content types: which one a request has, and which one its client would have back."""

import math
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import NamedTuple

from serve.errors import NotAcceptableError, UnsupportedTypeError

SHOWN = 80
"""How much of a header an error quotes."""
MOST_CHOICES = 8
"""How many types of one Accept header are tried."""
ANYTHING = "*/*"


class _Range(NamedTuple):
    """One entry of an Accept header, with wildcards or without."""

    pattern: str
    quality: float
    place: int

    def specificity(self, media_type: str) -> int:
        """How closely the entry fits the type: 3 exactly, 2 by its kind, 1 as anything, 0 not."""
        kind = media_type.partition("/")[0]
        return {media_type: 3, f"{kind}/*": 2, "*/*": 1}.get(self.pattern, 0)


def media_type(header: str | None) -> str:
    """A content type without its parameters, in lower case; empty where there is none."""
    return (header or "").partition(";")[0].strip().lower()


@lru_cache(maxsize=256)
def content_type(header: str | None, read: Collection[str]) -> str:
    """The type of a request's body, one of those that are read."""
    found = media_type(header)
    if found not in read:
        came = f"content type {found[:SHOWN]!r} is not read" if found else "no Content-Type came"
        raise UnsupportedTypeError(f"{came}; send {_listed(read)}")
    return found


@lru_cache(maxsize=256)
def acceptable(accept: str | None, offered: Sequence[str]) -> str:
    """The offered type that an Accept header prefers, by quality and then by its order."""
    if accept is None or not accept.strip():
        return offered[0]
    ranges = _ranges(accept)
    best = max(offered, key=lambda name: _preference(name, ranges))
    if _preference(best, ranges)[0] <= 0:
        raise NotAcceptableError(
            f"nothing that Accept {accept[:SHOWN]!r} allows can be given; accept {_listed(offered)}"
        )
    return best


@lru_cache(maxsize=256)
def choices(accept: str, known: Sequence[str]) -> tuple[str, ...]:
    """Single types that an Accept header allows, the most preferred first, for who makes any.

    A wildcard stands for those of the known types that fit, in their order, and where none fits
    for itself. An empty header is one that allows everything.
    """
    ranges = [entry for entry in _ranges(accept) if entry.pattern] or [_Range(ANYTHING, 1.0, 0)]
    allowed = [entry for entry in ranges if entry.quality > 0]
    allowed.sort(key=lambda entry: (-entry.quality, entry.place))
    found = [name for entry in allowed for name in _standing_for(entry, known, ranges)]
    if not found:
        raise NotAcceptableError(
            f"nothing that Accept {accept[:SHOWN]!r} allows can be given; accept {_listed(known)}"
        )
    return tuple(dict.fromkeys(found))[:MOST_CHOICES]


def concrete(choice: str, otherwise: str) -> str:
    """The content type of an answer: the choice, or `otherwise` where it is still a wildcard."""
    return otherwise if "*" in choice else choice


def _standing_for(entry: _Range, known: Sequence[str], ranges: Sequence[_Range]) -> Sequence[str]:
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
    """The value of `q`, 1 where there is none; what is no quality is taken as a refusal."""
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
    """Quality of the closest entry that fits, and how early it stands; the larger, the better."""
    fits = [(entry.specificity(name), entry.quality, -entry.place) for entry in ranges]
    closest, quality, place = max(fits)
    return (quality, place) if closest else (0.0, 0)


def _listed(names: Collection[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last
