r"""Metrics from what a program prints: by regular expressions, or reported by the program itself.

A definition's regex is searched in every line of stdout and stderr; where a line is drawn over
itself, as progress bars are, what was drawn last counts. A program that would rather say its values
itself, and at full precision, prints a line that is nothing but

    {"tuneport": {"average test loss": 0.19941237, "accuracy": 0.941}}

and what it reports in this way is no longer read by a regex.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
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
"""What regexes for digits match; some want a point."""
THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]*)?")
PUNCTUATION = ".,;:)%"


@dataclass(frozen=True)
class Definition:
    """A metric, and where its value stands in a line."""

    name: str
    regex: str
    """Its first group is the value, as SageMaker takes it; the first that took part in a match."""

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
        """The regex, compiled."""
        return re.compile(self.regex)

    def find(self, line: str) -> "Found | None":
        """The first value in what a line shows; raises TrainableError where it is no number."""
        for drawn in _drawn(line):
            found = self._find_drawn(drawn)
            if found is not None:
                return found
        return None

    def _find_drawn(self, line: str) -> "Found | None":
        span = self._span(line)
        if span is None:
            return self._find_not_finite(line)
        text = line[slice(*span)]
        exponent = EXPONENT.match(line, span[1]) if _ends_as_number(text) else None
        text += exponent[0] if exponent else ""
        return Found(self._number(text, line), completed=exponent is not None)

    def _span(self, line: str) -> tuple[int, int] | None:
        """Where a line has the value: the first group that took part in the regex's match."""
        match = self.pattern.search(line)
        spans = [match.span(group + 1) for group in range(self.pattern.groups)] if match else []
        return next((span for span in spans if span[0] >= 0), None)

    def _find_not_finite(self, line: str) -> "Found | None":
        """What a regex for digits is blind to: nan and inf where it would have found a number."""
        lowered = line.lower()
        if "nan" not in lowered and "inf" not in lowered:  # which is much quicker to find out
            return None
        for token, number in product(NOT_FINITE.finditer(line), NUMBERS):
            start, end = token.span()
            if self._span(line[:start] + number + line[end:]) == (start, start + len(number)):
                return Found(float(token[0]), completed=False)
        return None

    def _number(self, text: str, line: str) -> float:
        bare = text.strip().rstrip(PUNCTUATION)
        grouped = THOUSANDS.fullmatch(bare)
        with suppress(ValueError):
            return float(bare.replace(",", "") if grouped else bare)
        first = "'s first (group)" if self.pattern.groups > 1 else ""
        raise TrainableError(
            f"{self.name}: the regex {self.regex}{first} captured {text!r}, which is no number,"
            f" in the line {line.strip()!r:.200}"
        )


def _drawn(line: str) -> Sequence[str]:
    """What a line shows one after the other where it is drawn over itself, the last first."""
    bare = line.rstrip("\r\n")
    return bare.split("\r")[::-1] if "\r" in bare else (line,)


def _ends_as_number(text: str) -> bool:
    """Whether an exponent may follow: digits, and no exponent before it."""
    return re.fullmatch(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)", text) is not None


@dataclass(frozen=True)
class Found:
    """What a line says of a metric."""

    value: float
    completed: bool
    """Whether the regex left out an exponent, which was added."""


class Reader:
    """Makes reports of lines: one for every value of the objective.

    A report waits until all metrics are there that the one before it had, in the first one all
    that are defined, so that what a program prints after its objective is not lost to the next.
    """

    def __init__(
        self, definitions: Sequence[Definition], objective: str, say: Callable[[str], None]
    ) -> None:
        """Tell `say` what a person should know of how lines were read, each thing once."""
        self.definitions = list(definitions)
        self.objective = objective
        self.say = say
        self.expected = {each.name for each in definitions}
        self.values: dict[str, float] = {}
        self.told: set[str] = set()
        self.found: set[str] = set()
        """The metrics that had a value at any time."""

    def read(self, line: str) -> list[dict[str, float]]:
        """The reports that this line completes."""
        direct = self._find_direct(line)
        if direct is not None:
            return self._take_direct(direct)
        found = self._find_all(line)
        return self._take(found) if found else []

    def find(self, line: str) -> dict[str, float]:
        """The values in this line, which belong to no report."""
        direct = self._find_direct(line)
        return self._find_all(line) if direct is None else direct

    def _find_direct(self, line: str) -> dict[str, float] | None:
        """Values that the program itself reports; no regex reads these metrics from now on."""
        found = _direct(line)
        if found is not None:
            self.definitions = [each for each in self.definitions if each.name not in found]
        return found

    def _find_all(self, line: str) -> dict[str, float]:
        values = ((each.name, self._find(each, line)) for each in self.definitions)
        return {name: found.value for name, found in values if found is not None}

    def _find(self, definition: Definition, line: str) -> Found | None:
        """The value, and what is to be said of it; only the objective must be a number."""
        try:
            found = definition.find(line)
        except TrainableError as error:
            if definition.name == self.objective:
                raise
            self._tell(definition, f"{error}; such values are left out")
            return None
        if found is not None and found.completed:
            self._tell(
                definition,
                f"{definition.name}: the regex {definition.regex} leaves out the exponent of"
                f" {found.value:g}, which was added here",
            )
        return found

    def rest(self) -> list[dict[str, float]]:
        """The report that waited for more when the program ended."""
        return [self._close()] if self.objective in self.values else []

    def _take(self, found: Mapping[str, float]) -> list[dict[str, float]]:
        self.found |= found.keys()
        reports = []
        if self.objective in found and self.objective in self.values:
            reports.append(self._close())
        self.values.update(found)
        if self.objective in self.values and self.expected <= self.values.keys():
            reports.append(self._close())
        return reports

    def _take_direct(self, found: Mapping[str, float]) -> list[dict[str, float]]:
        self.expected |= found.keys()
        self.found |= found.keys()
        if self.objective not in found:
            return self._take(found)
        before = self.rest()
        self.values.update(found)
        return [*before, self._close()]

    def _close(self) -> dict[str, float]:
        report, self.values = self.values, {}
        self.expected = set(report)
        return report

    def _tell(self, definition: Definition, sentence: str) -> None:
        if definition.name not in self.told:
            self.told.add(definition.name)
            self.say(sentence)


class Elsewhere:
    """Notes which metrics are printed on hosts whose lines make no reports."""

    def __init__(self, definitions: Sequence[Definition]) -> None:
        self._wanted = {each.name: each for each in definitions}
        self.hosts: dict[str, str] = {}
        """By metric, the first of those hosts that printed it."""

    def hear(self, host: str, line: str) -> None:
        """Listen to the next line of a host."""
        with suppress(TrainableError):  # it is no report, in whatever form it is
            for name in _direct(line) or ():
                self._note(name, host)
        for name, definition in list(self._wanted.items()):
            with suppress(TrainableError):
                if definition.find(line) is not None:
                    self._note(name, host)

    def _note(self, name: str, host: str) -> None:
        self._wanted.pop(name, None)
        self.hosts.setdefault(name, host)


def _direct(line: str) -> dict[str, float] | None:
    """What a line of the documented form reports; raises TrainableError where it holds no numbers.

    `NaN` and `Infinity`, which Python's own JSON writes, are numbers here too. The progress bar of
    another stream may be on the same line.
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


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@dataclass(frozen=True)
class Tried:
    """What is found of a metric in a log."""

    name: str
    regex: str | None
    """None for what the program reports itself and no regex is for."""
    values: tuple[float, ...]

    def __str__(self) -> str:
        if not self.values:
            return f"{self.name}: nothing matches {self.regex}"
        shown = ", ".join(f"{value:g}" for value in self.values[:10])
        more = ", …" if len(self.values) > 10 else ""
        count = "1 value" if len(self.values) == 1 else f"{len(self.values)} values"
        bad = sum(not math.isfinite(value) for value in self.values)
        warning = f"; {bad} of them not finite" if bad else ""
        return f"{self.name}: {count}: {shown}{more}{warning}"


def try_on(
    definitions: Sequence[Definition],
    objective: str,
    lines: Iterable[str],
    say: Callable[[str], None],
) -> list[Tried]:
    """What a run would read in these lines, by metric; raises TrainableError as a run would."""
    reader = Reader(definitions, objective, say)
    values: dict[str, list[float]] = {each.name: [] for each in definitions}
    for line in lines:
        for name, value in reader.find(line).items():
            values.setdefault(name, []).append(value)
    regexes = {each.name: each.regex for each in definitions}
    return [Tried(name, regexes.get(name), tuple(found)) for name, found in values.items()]
