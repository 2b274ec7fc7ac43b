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

from trainables.contract import TrainableError

DIRECT = "tuneport"
"""The only key of a line by which a program reports its metrics itself."""
EXPONENT = re.compile(r"[eE][+-]?[0-9]+")
NOT_FINITE = re.compile(r"[+-]?\b(?:nan|inf|infinity)\b", re.IGNORECASE)
THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]*)?")
PUNCTUATION = ".,;:)%"


@dataclass(frozen=True)
class Definition:
    """A metric, and where its value stands in a line."""

    name: str
    regex: str
    """Its one group is the value."""

    def __post_init__(self) -> None:
        try:
            groups = self.pattern.groups
        except re.error as error:
            raise TrainableError(
                f"script.metrics: {self.name!r}: {self.regex} is no regex: {error}"
            ) from error
        if groups != 1:
            raise TrainableError(
                f"script.metrics: {self.name!r}: the regex needs exactly one (group) around the"
                f" value, {self.regex} has {groups}"
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
        match = self.pattern.search(line)
        if match is None or match[1] is None:
            return self._find_not_finite(line)
        exponent = EXPONENT.match(line, match.end(1)) if _ends_as_number(match[1]) else None
        text = match[1] + (exponent[0] if exponent else "")
        return Found(self._number(text, line), completed=exponent is not None)

    def _find_not_finite(self, line: str) -> "Found | None":
        """What a regex for digits is blind to: nan and inf where it would have found a number."""
        lowered = line.lower()
        if "nan" not in lowered and "inf" not in lowered:  # which is much quicker to find out
            return None
        for token in NOT_FINITE.finditer(line):
            match = self.pattern.search(line[: token.start()] + "0" + line[token.end() :])
            if match is not None and match.span(1) == (token.start(), token.start() + 1):
                return Found(float(token[0]), completed=False)
        return None

    def _number(self, text: str, line: str) -> float:
        bare = text.strip().rstrip(PUNCTUATION)
        grouped = THOUSANDS.fullmatch(bare)
        with suppress(ValueError):
            return float(bare.replace(",", "") if grouped else bare)
        raise TrainableError(
            f"{self.name}: the regex {self.regex} captured {text!r}, which is no number,"
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

    def read(self, line: str) -> list[dict[str, float]]:
        """The reports that this line completes."""
        direct = _direct(line)
        if direct is not None:
            return self._take_direct(direct)
        found = {}
        for each in self.definitions:
            value = self._find(each, line)
            if value is not None:
                found[each.name] = value.value
        return self._take(found) if found else []

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
        reports = []
        if self.objective in found and self.objective in self.values:
            reports.append(self._close())
        self.values.update(found)
        if self.objective in self.values and self.expected <= self.values.keys():
            reports.append(self._close())
        return reports

    def _take_direct(self, found: Mapping[str, float]) -> list[dict[str, float]]:
        """Values that the program itself reports; no regex reads these metrics from now on."""
        self.definitions = [each for each in self.definitions if each.name not in found]
        self.expected |= found.keys()
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
    """What a definition finds in a log."""

    definition: Definition
    values: tuple[float, ...]

    def __str__(self) -> str:
        name, regex = self.definition.name, self.definition.regex
        if not self.values:
            return f"{name}: nothing matches {regex}"
        shown = ", ".join(f"{value:g}" for value in self.values[:10])
        more = ", …" if len(self.values) > 10 else ""
        bad = sum(not math.isfinite(value) for value in self.values)
        warning = f"; {bad} of them not finite" if bad else ""
        return f"{name}: {len(self.values)} values: {shown}{more}{warning}"


def try_on(definitions: Sequence[Definition], lines: Iterable[str]) -> list[Tried]:
    """What each definition finds in these lines; direct reports count for the metrics they name."""
    values: dict[str, list[float]] = {each.name: [] for each in definitions}
    for line in lines:
        direct = _direct(line)
        for each in definitions:
            if direct is not None and each.name in direct:
                values[each.name].append(direct[each.name])
            elif direct is None and (found := each.find(line)) is not None:
                values[each.name].append(found.value)
    return [Tried(each, tuple(values[each.name])) for each in definitions]
