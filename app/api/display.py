"""Display of a run that is waited for: a live table drawn from its journal, or its messages."""

import io
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.api.commands import Command, write
from app.engine.plan import RunState
from app.engine.progress import can_redraw, in_notebook
from app.engine.time_left import TimeLeft
from app.experiment.run_folder import JOURNAL
from app.run import journal_reader, store
from app.run.errors import DamagedError
from app.run.events import parse_event
from app.storage.run_storage import run_storage
from app.terminal import escaped

Update = Callable[[], None]
IN_TABLE = re.compile(r"trial \d+  |  \| ")
"""Messages of a command that the table shows."""
NOTEBOOK_S = 0.5
"""Time between two drawings in a notebook."""
NOTEBOOK_WIDTH, NOTEBOOK_HEIGHT = 110, 40
HTML = '<pre style="line-height: 1.2; white-space: pre">{code}</pre>'


@contextmanager
def shown(path: Path, command: Command | None = None) -> Iterator[Update]:
    """Give a function that shows what is new of a run, and of what the command that runs it says.

    A terminal and a notebook have a table that is drawn anew; elsewhere the messages are printed.
    """
    run_storage(path).refresh(JOURNAL)
    if not (path / JOURNAL).is_file() or not can_redraw(sys.stdout):
        yield (lambda: None) if command is None else command.show
        return
    table = RunReader(path, command)
    with _drawn_in_notebook(table) if in_notebook() else _drawn(table) as update:
        yield update
        update()


class RunReader:
    """The state of a run, read from its journal as that grows."""

    def __init__(self, path: Path, command: Command | None) -> None:
        self._path = path
        self._command = command
        self._offset = 0
        experiment = store.read_experiment(store.Run(path, {}))
        self.state = RunState(experiment, store.new_record(path, experiment))
        self._read()
        # Made after what is there already, so that only the rest is timed.
        self.time_left = TimeLeft(self.state)

    def update(self, say: Callable[[str], object]) -> None:
        """Read the events that are new, and `say` the messages that no table shows."""
        for kind, trial_id in self._read():
            if trial_id is not None:
                self.time_left.update(kind, self.state.record.trials[trial_id])
        for line in self._command.new_lines() if self._command is not None else ():
            if not IN_TABLE.match(line):
                say(line)

    def _read(self) -> list[tuple[str, str | None]]:
        """Apply the events that are new; return the kind of each, and its trial.

        Raises DamagedError where one cannot be read or applied.
        """
        run_storage(self._path).refresh(JOURNAL)
        with (self._path / JOURNAL).open("rb") as file:
            file.seek(self._offset)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._offset += len(whole)
        try:
            events = [parse_event(line) for _, line in journal_reader.lines(whole)]
            known = [event for event in events if self.state.record.apply_known(event)]
        except ValueError as error:
            raise DamagedError(f"{self._path / JOURNAL}: {error}") from error
        return [(event["event"], event.get("trial_id")) for event in known]


@contextmanager
def _drawn(run: RunReader) -> Iterator[Update]:
    """Draw a run in a terminal, twice a second, with messages above it."""
    from app.engine.live_display import live_table

    with live_table(sys.stdout, run.state, run.time_left) as live:
        yield lambda: run.update(lambda line: live.console.print(escaped(line), markup=False))


@contextmanager
def _drawn_in_notebook(run: RunReader) -> Iterator[Update]:
    """Draw a run as a cell's output, which the notebook keeps."""
    from IPython.display import display

    drawn_at = time.monotonic()
    output: Any = display(_as_html(run), raw=True, display_id=True)  # type: ignore[no-untyped-call]  # IPython

    def update() -> None:
        nonlocal drawn_at
        run.update(write)
        if time.monotonic() >= drawn_at + NOTEBOOK_S:
            output.update(_as_html(run), raw=True)
            drawn_at = time.monotonic()

    try:
        yield update
    finally:
        output.update(_as_html(run), raw=True)


def _as_html(run: RunReader) -> dict[str, Any]:
    """Draw the table as a message for Jupyter, in HTML and in plain text."""
    from rich.console import Console

    from app.engine.live_table import RunTable

    console = Console(
        file=io.StringIO(),
        record=True,
        force_jupyter=False,
        width=NOTEBOOK_WIDTH,
        height=NOTEBOOK_HEIGHT,
    )
    console.print(RunTable(run.state, run.time_left))
    html = console.export_html(inline_styles=True, code_format=HTML, clear=False)
    return {"text/html": html, "text/plain": console.export_text()}
