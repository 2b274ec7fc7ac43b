"""Table of a run as it goes on: as wide and as high as the terminal, drawn by `rich`.

The trials that are running come first, then the best one, then the newest. Columns keep the width
of what they hold: where they do not fit, names are broken at `_` and the like, then the curve goes,
then the best value, then parameters.
"""

import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from app.engine.time_left import TimeLeft
from app.experiment.early_stopping import OFF
from app.run.failure_summary import kind
from app.run.formatting import configuration, count, duration, number, shorten, sparkline
from app.run.status import TrialStatus
from app.run.trial import Trial
from app.terminal import in_one_line

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

    from app.engine.plan import RunState

GAP = 2
"""Blanks between columns."""
CURVE = 12
"""Width of a trial's curve, one character for each epoch or for several."""
LONGEST = 16
"""Characters of a value: longer texts are cut."""
MOST_KINDS = 3
"""Kinds of failures that are listed."""
MOST_LINES = 2
"""Lines of a sentence below the table."""
MOST_HEIGHT = 40
"""Height of the table where a page can be scrolled, in a notebook."""
PIECE = re.compile(r"[^_\-. ]+[_\-. ]*|[_\-. ]+")
"""Parts of a name between which it may be broken."""


@dataclass
class Column:
    """A column and what stands in it."""

    name: str
    cells: list[str]
    is_number: bool = True

    @cached_property
    def width(self) -> int:
        """The width that its cells and its name need."""
        lines = [*self.name.split("\n"), *self.cells]
        return max(map(cell_len, lines))

    def name_line(self, index: int, height: int) -> str:
        """Return a line of its name, where names have so many: the last ones stand on one line."""
        lines = self.name.split("\n")
        return [*[""] * (height - len(lines)), *lines][index]

    def aligned(self, cell: str, width: int) -> str:
        """Return a cell with blanks up to a width: before a number, after a word."""
        blanks = " " * (width - cell_len(cell))
        return blanks + cell if self.is_number else cell + blanks

    def narrowed(self) -> "Column":
        """Return it with its name broken to about the width of its cells."""
        pieces = PIECE.findall(self.name)
        width = max([*map(cell_len, pieces), *map(cell_len, self.cells), 4], default=0)
        lines = [""]
        for piece in pieces:
            if lines[-1] and cell_len(lines[-1] + piece) > width:
                lines.append("")
            lines[-1] += piece
        return Column("\n".join(lines), self.cells, self.is_number)


@dataclass
class Layout:
    """The trials that have a row, the columns, and the parameters that have none."""

    rows: list[Trial]
    columns: list[Column]
    left_out: list[str]

    def height(self, trials: Sequence[Trial]) -> int:
        """Return the number of lines, the names of columns and the note among them."""
        names = max(len(column.name.split("\n")) for column in self.columns) if self.rows else 0
        return names + len(self.rows) + bool(self.note(trials))

    def note(self, trials: Sequence[Trial]) -> str:
        """Say how many trials have no row, by their states, and how many parameters no column."""
        shown = {trial.trial_id for trial in self.rows}
        others = Counter(trial.status for trial in trials if trial.trial_id not in shown)
        states = ", ".join(f"{times} {state}" for state, times in others.items())
        more = f"{others.total()} more: {states}" if others else ""
        hidden = f"{count(len(self.left_out), 'parameter')} not shown" if self.left_out else ""
        return "; ".join(filter(None, (more, hidden)))


class RunTable:
    """Drawing of a run as it is at this moment, for a console of any size."""

    def __init__(self, plan: "RunState", time_left: TimeLeft) -> None:
        self.plan = plan
        self.time_left = time_left

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        """Draw at most as many lines as the console has."""
        width, height = options.max_width, options.size.height
        if console.is_jupyter:
            height = min(height, MOST_HEIGHT)
        yield from self.draw(width, height, has_blocks=not options.ascii_only)

    def draw(self, width: int, height: int, *, has_blocks: bool = True) -> Iterator[Text]:
        """Yield the title, the table and the sentences below it, in so many lines."""
        trials = list(self.plan.record.trials.values())
        title = _wrap(self.title(trials), width, MOST_LINES)[:height]
        room = height - len(title)
        # Those that are running, the best, the names of columns and the note come first.
        running = sum(trial.status == TrialStatus.RUNNING for trial in trials)
        most = max(min(room // 2 - 1, room - running - 3), MOST_LINES)
        below = [line for text in self.below(trials) for line in _wrap(text, width, MOST_LINES)]
        below = _cut(below, min(most, room))
        room -= len(below)
        layout = self._fit(trials, width, room, has_blocks=has_blocks)
        yield from _lines(title, "bold")
        if layout.rows:
            yield from self._grid(layout.rows, layout.columns)
        if layout.height(trials) <= room:
            yield from _lines(filter(None, [layout.note(trials)]), "dim")
        yield from _lines(below)

    def title(self, trials: Sequence[Trial]) -> str:
        """Say how many trials are done, and how long the run took and will take."""
        done = sum(trial.is_finished for trial in trials)
        running = sum(trial.status == TrialStatus.RUNNING for trial in trials)
        parts = [
            f"{done} of {count(self.plan.experiment.num_samples, 'trial')} done",
            f"{running} running" if running else "",
            f"{duration(self.time_left.elapsed_s)} elapsed",
            self.time_left.describe(),
        ]
        return f"{self.plan.record.name}: {', '.join(filter(None, parts))}"

    def below(self, trials: Sequence[Trial]) -> Iterator[str]:
        """Yield what is best so far, what failed and why, and what was stopped early."""
        yield best_line(self.plan)
        yield from _failures(trials)
        if line := _stopped(self.plan):
            yield line

    def _fit(self, trials: Sequence[Trial], width: int, room: int, *, has_blocks: bool) -> "Layout":
        """Choose the rows for so many lines, and the columns for that width."""
        rest = max(room, 0)
        while True:
            rows = choose(trials, self.plan.record.best, rest)
            layout = Layout(rows, *self._columns(rows, width, has_blocks=has_blocks))
            excess = layout.height(trials) - room
            if excess <= 0 or not rows:
                return layout
            rest = max(len(rows) - excess, 0)

    def _columns(
        self, rows: Sequence[Trial], width: int, *, has_blocks: bool
    ) -> tuple[list[Column], list[str]]:
        """Return the columns that fit, and the names of parameters that do not."""
        first, parameters, last = self._all_columns(rows, has_blocks=has_blocks)
        if not _fits([*first, *parameters, *last], width):
            first, parameters, last = (
                [column.narrowed() for column in columns] for columns in (first, parameters, last)
            )
        for name in ("curve", "best"):
            if not _fits([*first, *parameters, *last], width):
                last = [column for column in last if column.name != name]
        left_out: list[str] = []
        while parameters and not _fits([*first, *parameters, *last], width):
            left_out.insert(0, parameters.pop().name.replace("\n", ""))
        return [*first, *parameters, *last], left_out

    def _all_columns(
        self, rows: Sequence[Trial], *, has_blocks: bool
    ) -> tuple[list[Column], list[Column], list[Column]]:
        experiment, best = self.plan.experiment, self.plan.record.best
        metric = experiment.metric
        names = [f"{trial.trial_id}{' *' if trial is best else ''}" for trial in rows]
        parameters = [
            Column(in_one_line(name), [_value(trial, name) for trial in rows])
            for name in experiment.space
        ]
        curves = [sparkline(_values(trial, metric), CURVE) for trial in rows]
        last = [
            Column("epoch", [self.plan.describe_epochs(trial) for trial in rows]),
            Column(in_one_line(metric), [_latest(trial, metric) for trial in rows]),
            Column("best", [_best(trial, metric) for trial in rows]),
            *([Column("curve", curves, is_number=False)] if has_blocks else []),
            Column("state", [str(trial.status) for trial in rows], is_number=False),
        ]
        return [Column("trial", names, is_number=False)], parameters, last

    def _grid(self, rows: Sequence[Trial], columns: Sequence[Column]) -> Iterator[Text]:
        # A table of rich's takes ten times as long, and finds the widths that are known here.
        height = max(column.name.count("\n") + 1 for column in columns)
        for line in range(height):
            names = [column.name_line(line, height) for column in columns]
            yield from _lines([_joined(columns, names)], "bold")
        for index, trial in enumerate(rows):
            cells = [column.cells[index] for column in columns]
            yield from _lines([_joined(columns, cells)], self._style(trial))

    def _style(self, trial: Trial) -> str:
        if trial is self.plan.record.best:
            return "bold green"
        return {TrialStatus.FAILED: "red", TrialStatus.RUNNING: ""}.get(trial.status, "dim")


def choose(trials: Sequence[Trial], best: Trial | None, most: int) -> list[Trial]:
    """Return the trials to show: those that are running, the best one, then the newest."""
    newest = sorted(trials, key=Trial.number, reverse=True)
    running = [trial for trial in newest if trial.status == TrialStatus.RUNNING]
    others = [trial for trial in newest if trial.status != TrialStatus.RUNNING]
    if best is None or best not in others:
        return [*running, *others][:most]
    rest = [trial for trial in others if trial is not best]
    return [*running[: max(most - 1, 0)], best, *rest][:most]


def best_line(plan: "RunState") -> str:
    """Say which trial is best so far."""
    best, metric = plan.record.best, plan.record.metric
    if best is None or best.best_epoch is None:
        return "best: none yet"
    value = number(best.best_epoch.metrics[metric])
    where = f"epoch {best.best_epoch.number} of trial {best.trial_id}"
    return f"best: {in_one_line(metric)} {value} in {where}  {configuration(best.config)}"


def _failures(trials: Sequence[Trial]) -> Iterator[str]:
    """Yield a sentence for each kind of failure, those of the latest trials first."""
    kinds: dict[str, list[Trial]] = {}
    for trial in sorted(trials, key=Trial.number, reverse=True):
        if trial.status == TrialStatus.FAILED:
            kinds.setdefault(kind(trial.error or ""), []).append(trial)
    for alike in list(kinds.values())[:MOST_KINDS]:
        first = in_one_line((alike[0].error or "").split("\n", 1)[0])
        more = f" and {count(len(alike) - 1, 'other')} like it" if alike[1:] else ""
        yield f"failed: trial {alike[0].trial_id}{more}: {first}"
    if len(kinds) > MOST_KINDS:
        yield f"failed: {count(len(kinds) - MOST_KINDS, 'other kind')} of failures"


def _stopped(plan: "RunState") -> str:
    """Say what early stopping stopped, and what that saved; empty where it stopped nothing."""
    record, expected = plan.record, plan.experiment.kind.expected_epochs
    stopped = [record.trials[trial_id] for trial_id in list(record.stopped)]
    if not stopped or plan.experiment.early_stopping.name == OFF:
        return ""
    last = stopped[-1]
    line = (
        f"early stopping ({plan.experiment.early_stopping.name}) stopped"
        f" {count(len(stopped), 'trial')}, last trial {last.trial_id} after epoch {last.epochs}"
    )
    if expected is None:
        return line
    saved = sum(expected - trial.epochs for trial in stopped)
    return f"{line}; {count(saved, 'epoch')} saved"


def _value(trial: Trial, name: str) -> str:
    return shorten(in_one_line(number(trial.config.get(name, ""))), LONGEST)


def _values(trial: Trial, metric: str) -> list[float | None]:
    return [epoch.metrics.get(metric) for epoch in list(trial.history)]


def _latest(trial: Trial, metric: str) -> str:
    values = _values(trial, metric)[-1:]
    return shorten(number(values[0]), LONGEST) if values and values[0] is not None else ""


def _best(trial: Trial, metric: str) -> str:
    best = trial.best_epoch
    return "" if best is None else number(best.metrics[metric])


def _joined(columns: Sequence[Column], cells: Sequence[str]) -> str:
    return (" " * GAP).join(
        column.aligned(cell, column.width) for column, cell in zip(columns, cells, strict=True)
    )


def _fits(columns: Sequence[Column], width: int) -> bool:
    return sum(column.width for column in columns) + GAP * (len(columns) - 1) <= width


def _wrap(text: str, width: int, most: int) -> list[str]:
    """Break a sentence at blanks into so many lines at most."""
    return textwrap.wrap(
        text, max(width, 10), max_lines=most, placeholder=" …", subsequent_indent="  ",
        break_on_hyphens=False,
    )  # fmt: skip


def _cut(lines: Sequence[str], most: int) -> list[str]:
    """Return the first lines, the last of which shows that more follow."""
    if len(lines) <= most:
        return list(lines)
    return [*lines[: most - 1], f"{lines[most - 1].removesuffix(' …')} …"] if most else []


def _lines(lines: Iterable[str], style: str = "") -> Iterator[Text]:
    for line in lines:
        yield Text(line, style=style, no_wrap=True, overflow="ellipsis")
