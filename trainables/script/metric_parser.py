r"""Metrics in a line of output: found by a regular expression, or reported by the program itself.

A definition's regex is searched in every line of stdout and stderr. Where a line overwrites itself,
as progress bars do, the text that was written last counts. A program that would rather report its
values itself, at full precision, prints a line that is nothing but

    {"tuneport": {"average test loss": 0.19941237, "accuracy": 0.941}}

and metrics that it reports so are no longer searched by a regex.
"""

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import product

from trainables.contract import TrainableError

DIRECT = "tuneport"
"""The only key of a line by which a program reports its metrics itself."""
EXPONENT = re.compile(r"[eE][+-]?[0-9]+")
NOT_FINITE = re.compile(r"[+-]?\b(?:nan|inf|infinity)\b", re.IGNORECASE)
NUMBERS = ("0", "0.0")
"""Numbers that a regex for digits matches; some want a point."""
THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]*)?")
PUNCTUATION = ".,;:)%"


@dataclass(frozen=True)
class Definition:
    """A metric and the regex that finds its value in a line."""

    name: str
    regex: str
    """Its first group is the value, as on SageMaker: the first that took part in the match."""

    def __post_init__(self) -> None:
        try:
            groups = self.pattern.groups
        except re.error as error:
            raise TrainableError(
                f"script.metrics: {self.name!r}: {self.regex} is no regex: {error}"
            ) from error
        if groups == 0:
            raise TrainableError(
                f"script.metrics: {self.name!r}: the regex needs a (group) around the value,"
                f" {self.regex} has none"
            )

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The compiled regex."""
        return re.compile(self.regex)

    def find(self, line: str) -> "Found | None":
        """Find the first value in a line; raise TrainableError where it is no number."""
        for text in _overwritten(line):
            found = self._find_in_text(text)
            if found is not None:
                return found
        return None

    def _find_in_text(self, line: str) -> "Found | None":
        span = self._span(line)
        if span is None:
            return self._find_not_finite(line)
        text = line[slice(*span)]
        exponent = EXPONENT.match(line, span[1]) if _ends_as_number(text) else None
        text += exponent[0] if exponent else ""
        return Found(self._parse(text, line), is_completed=exponent is not None)

    def _span(self, line: str) -> tuple[int, int] | None:
        """Return the span of the first group that took part in the regex's match."""
        match = self.pattern.search(line)
        spans = [match.span(group + 1) for group in range(self.pattern.groups)] if match else []
        return next((span for span in spans if span[0] >= 0), None)

    def _find_not_finite(self, line: str) -> "Found | None":
        """Find nan or inf where the regex, which may be for digits, would match a number."""
        lowered = line.lower()
        if "nan" not in lowered and "inf" not in lowered:  # much quicker than the search below
            return None
        for token, number in product(NOT_FINITE.finditer(line), NUMBERS):
            start, end = token.span()
            if self._span(line[:start] + number + line[end:]) == (start, start + len(number)):
                return Found(float(token[0]), is_completed=False)
        return None

    def _parse(self, text: str, line: str) -> float:
        bare = text.strip().rstrip(PUNCTUATION)
        grouped = THOUSANDS.fullmatch(bare)
        with suppress(ValueError):
            return float(bare.replace(",", "") if grouped else bare)
        first = "'s first (group)" if self.pattern.groups > 1 else ""
        raise TrainableError(
            f"{self.name}: the regex {self.regex}{first} captured {text!r}, which is no number,"
            f" in the line {line.strip()!r:.200}"
        )


@dataclass(frozen=True)
class Found:
    """The value of a metric in a line."""

    value: float
    is_completed: bool
    """Whether the regex left out an exponent, which was added."""


def parse_direct(line: str) -> dict[str, float] | None:
    """Parse a line by which a program reports its metrics itself; None for any other line.

    `NaN` and `Infinity`, which Python's own JSON writes, are numbers here too. A progress bar of
    another stream may stand on the same line.

    Raises TrainableError where the values are no numbers.
    """
    start = line.find(f'{{"{DIRECT}"')
    if start < 0 or (start > 0 and "\r" not in line[:start]):
        return None
    try:
        table = json.JSONDecoder().raw_decode(line, start)[0]
    except ValueError:
        return None
    values = table[DIRECT]
    if len(table) > 1 or not isinstance(values, dict) or not all(map(_is_number, values.values())):
        form = f'{{"{DIRECT}": {{"name": number, …}}}}'
        raise TrainableError(f"a report needs the form {form}, got {line.strip():.200}")
    return {name: float(value) for name, value in values.items()}


def _overwritten(line: str) -> Sequence[str]:
    """Split a line into the texts that overwrite each other, the last first."""
    bare = line.rstrip("\r\n")
    return bare.split("\r")[::-1] if "\r" in bare else (line,)


def _ends_as_number(text: str) -> bool:
    """Whether an exponent may follow: digits, and no exponent before it."""
    return re.fullmatch(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)", text) is not None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
