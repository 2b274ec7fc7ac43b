"""The functions of the interface: start a run, find one by name, list them all."""

import json
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.api import frames
from app.api.commands import POLL_S, Command, CommandError, as_flags
from app.api.run_handle import Run
from app.experiment import schema
from app.run import store, summaries
from app.run.store import StoreError
from app.storage.working_copy import location

if TYPE_CHECKING:
    import pandas


def run(
    experiment: schema.Experiment,
    *,
    name: str | None = None,
    runs: str | Path = "runs",
    wait: bool = True,
    address: str | None = None,
    warm_start: str | Sequence[str] = (),
    export_best: bool = False,
) -> Run:
    """Start an experiment, in a process of its own.

    Args:
        experiment: What to search.
        name: Name of the run; by default the experiment's and the time.
        runs: Folder or URI that keeps the runs.
        wait: Show the output until the run ends; else return once it has begun. Ctrl-C, or the
            interrupt of a notebook's cell, meanwhile saves and ends the run.
        address: Ray cluster to search on; None starts Ray on this machine.
        warm_start: Names of earlier runs whose results it starts from.
        export_best: Export the best model so far whenever it improves.

    Raises:
        CommandError: The run did not begin or, with `wait`, failed; the message is the command's.
        StorageError: Runs behind a URI cannot be read.
    """
    try:
        folder = store.open_runs(str(runs))
        name = name or f"{experiment.name}-{time.strftime('%Y%m%d-%H%M%S')}"
        path = store.new_folder(folder, name)
    except StoreError as error:
        raise CommandError(str(error)) from error
    flags = {
        "runs": location(folder),
        "name": name,
        "address": address,
        "warm_start": [warm_start] if isinstance(warm_start, str) else list(warm_start),
        "export_best": export_best,
    }
    with tempfile.TemporaryDirectory(prefix="tuneport-") as temporary:
        file = Path(temporary, "experiment.json")
        file.write_text(json.dumps(_table(experiment)), encoding="utf-8")
        command = Command("app.tune", str(file), *as_flags(flags))
        poll = command.show if wait else command.new_lines
        with command.interruptible(poll):
            while not store.exists(path) and not command.has_ended:
                poll()
                time.sleep(POLL_S)
    started = Run(path, command)
    if wait:
        started.wait()
    elif not store.exists(path):
        command.check()
    return started


def open_run(name: str, *, runs: str | Path = "runs") -> Run:
    """Find a run: one that goes on, has ended or has crashed, here or behind a URI.

    Args:
        name: The run's name, or how it begins.
        runs: Folder or URI that keeps the runs.

    Raises:
        StoreError: There is no such run, or more than one.
    """
    return Run(store.find_folder(store.open_runs(str(runs)), name))


def list_runs(*, runs: str | Path = "runs") -> "RunList":
    """List all runs, the newest first."""
    folder = store.open_runs(str(runs))
    return RunList(summaries.summaries(folder), folder)


class RunList(list[Run]):
    """Runs of a folder, the newest first."""

    def __init__(self, rows: Iterable[dict[str, Any]], folder: Path) -> None:
        self._rows = list(rows)
        super().__init__(Run(folder / row["name"]) for row in self._rows)

    def to_pandas(self) -> "pandas.DataFrame":
        """Make a row for each run: status, begin, best value and its trial, trials, seconds."""
        return frames.run_frame(self._rows)


def _table(experiment: schema.Experiment) -> dict[str, Any]:
    """Return the experiment as JSON, with the variables that no run records."""
    table = experiment.as_json()
    if experiment.script is not None:
        table["script"]["environment"] = dict(experiment.script.environment)
    return table
