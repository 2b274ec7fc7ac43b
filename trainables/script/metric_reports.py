"""Reports of a script's metrics, made from the lines that its hosts print."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from trainables.contract import TrainableError
from trainables.script.metric_parser import Definition, Found, parse_direct


class ReportReader:
    """Makes a report for every value of the objective in a program's lines.

    A report waits until all metrics of the report before are there, or all that are defined in the
    first one, so that metrics printed after the objective are not taken for the next epoch's.
    """

    def __init__(
        self, definitions: Sequence[Definition], objective: str, warn: Callable[[str], None]
    ) -> None:
        """Make a reader; it calls `warn` once for each metric that is not read as it stands."""
        self.definitions = list(definitions)
        self.objective = objective
        self.warn = warn
        self.expected = {definition.name for definition in definitions}
        self.values: dict[str, float] = {}
        self.warned: set[str] = set()
        self.seen: set[str] = set()
        """Metrics that had a value at any time."""

    def read(self, line: str) -> list[dict[str, float]]:
        """Read a line; return the reports that it completes."""
        direct = self._find_direct(line)
        if direct is not None:
            return self._add_direct(direct)
        values = self._find_all(line)
        return self._add(values) if values else []

    def find(self, line: str) -> dict[str, float]:
        """Find the values in a line, and make no report of them."""
        direct = self._find_direct(line)
        return self._find_all(line) if direct is None else direct

    def close(self) -> list[dict[str, float]]:
        """Return the report that waited for more when the program ended, if any."""
        return [self._complete()] if self.objective in self.values else []

    def _find_direct(self, line: str) -> dict[str, float] | None:
        """Find values that the program reports itself, and drop the regexes of their metrics."""
        values = parse_direct(line)
        if values is not None:
            self.definitions = [one for one in self.definitions if one.name not in values]
        return values

    def _find_all(self, line: str) -> dict[str, float]:
        found = ((one.name, self._find(one, line)) for one in self.definitions)
        return {name: value.value for name, value in found if value is not None}

    def _find(self, definition: Definition, line: str) -> Found | None:
        """Find a value; only the objective's must be a number, of others a person is warned."""
        try:
            found = definition.find(line)
        except TrainableError as error:
            if definition.name == self.objective:
                raise
            self._warn_once(definition, f"{error}; such values are left out")
            return None
        if found is not None and found.is_completed:
            self._warn_once(
                definition,
                f"{definition.name}: the regex {definition.regex} leaves out the exponent of"
                f" {found.value:g}, which was added here",
            )
        return found

    def _add(self, values: Mapping[str, float]) -> list[dict[str, float]]:
        self.seen |= values.keys()
        reports = []
        if self.objective in values and self.objective in self.values:
            reports.append(self._complete())
        self.values.update(values)
        if self.objective in self.values and self.expected <= self.values.keys():
            reports.append(self._complete())
        return reports

    def _add_direct(self, values: Mapping[str, float]) -> list[dict[str, float]]:
        self.expected |= values.keys()
        self.seen |= values.keys()
        if self.objective not in values:
            return self._add(values)
        before = self.close()
        self.values.update(values)
        return [*before, self._complete()]

    def _complete(self) -> dict[str, float]:
        report, self.values = self.values, {}
        self.expected = set(report)
        return report

    def _warn_once(self, definition: Definition, sentence: str) -> None:
        if definition.name not in self.warned:
            self.warned.add(definition.name)
            self.warn(sentence)


class UnreadMetrics:
    """Metrics that are printed by hosts of which no reports are made."""

    def __init__(self, definitions: Sequence[Definition]) -> None:
        self._definitions = {definition.name: definition for definition in definitions}
        self.hosts: dict[str, str] = {}
        """The first host that printed a metric, by its name."""

    def read(self, host: str, line: str) -> None:
        """Read a line of a host."""
        with suppress(TrainableError):  # it is no report, whatever its form
            for name in parse_direct(line) or ():
                self._note(name, host)
        for name, definition in list(self._definitions.items()):
            with suppress(TrainableError):
                if definition.find(line) is not None:
                    self._note(name, host)

    def _note(self, name: str, host: str) -> None:
        self._definitions.pop(name, None)
        self.hosts.setdefault(name, host)
