"""Check of a script's metric definitions on a log."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from trainables.script.metric_parser import Definition
from trainables.script.metric_reports import ReportReader

SHOWN = 10
"""Values of a metric that are shown."""


@dataclass(frozen=True)
class LoggedMetric:
    """The values of a metric in a log."""

    name: str
    regex: str | None
    """None for a metric that the program reports itself and no regex is for."""
    values: tuple[float, ...]

    def __str__(self) -> str:
        if not self.values:
            return f"{self.name}: nothing matches {self.regex}"
        shown = ", ".join(f"{value:g}" for value in self.values[:SHOWN])
        more = ", …" if len(self.values) > SHOWN else ""
        count = "1 value" if len(self.values) == 1 else f"{len(self.values)} values"
        bad = sum(not math.isfinite(value) for value in self.values)
        warning = f"; {bad} of them not finite" if bad else ""
        return f"{self.name}: {count}: {shown}{more}{warning}"


def find_metrics(
    definitions: Sequence[Definition],
    objective: str,
    lines: Iterable[str],
    warn: Callable[[str], None],
) -> list[LoggedMetric]:
    """Find what a run would read in these lines, by metric; raise TrainableError as it would."""
    reader = ReportReader(definitions, objective, warn)
    values: dict[str, list[float]] = {definition.name: [] for definition in definitions}
    for line in lines:
        for name, value in reader.find(line).items():
            values.setdefault(name, []).append(value)
    regexes = {definition.name: definition.regex for definition in definitions}
    return [LoggedMetric(name, regexes.get(name), tuple(found)) for name, found in values.items()]
