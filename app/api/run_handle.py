"""A run, as a notebook reads it and acts on it."""

import json
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.api import frames
from app.api.commands import POLL_S, Command, CommandError, as_flags
from app.api.display import shown
from app.api.endpoint import Endpoint
from app.api.trial import Trial
from app.experiment.run_folder import JOURNAL
from app.run import journal_reader, store, trial_output
from app.run.layout import MODEL
from app.run.result_file import RESULT
from app.run.status import RunStatus
from app.run.store import StoreError
from app.storage.run_storage import run_storage
from app.storage.working_copy import location
from serve.models.manifest import MANIFEST

if TYPE_CHECKING:
    import pandas

    from app.experiment.schema import Experiment
    from app.report.page import Report

WATCH_S = 1.0
"""The time between looks at a run that another process has in hand, perhaps behind a URI."""
MODELS = "models"
"""The folder of a run's with the models of trials other than the best, by trial."""


class Run:
    """A run by its folder, which every question reads again."""

    def __init__(self, path: Path, command: Command | None = None) -> None:
        """Take the run in a folder; `command` runs it if it was started here."""
        self.path = path
        """The run's folder; of a run behind a URI, its copy on this machine."""
        self._command = command

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.path.name

    @property
    def result(self) -> dict[str, Any]:
        """`result.json` as it is now."""
        return self._stored.result

    @property
    def status(self) -> RunStatus:
        """State of the run; `interrupted` if its process is gone."""
        return RunStatus(self.result["status"])

    @property
    def reason(self) -> str | None:
        """Reason of the status, in one sentence."""
        reason: str | None = self.result["reason"]
        return reason

    @property
    def experiment(self) -> "Experiment":
        """The experiment, as the run has recorded it."""
        return store.read_experiment(self._stored)

    @property
    def trials(self) -> list[Trial]:
        """Trials by their numbers."""
        return [Trial.from_json(trial) for trial in self.result["trials"]]

    @property
    def best(self) -> Trial | None:
        """Trial with the best value; None if there is none."""
        best = self.result["best"]
        return None if best is None else self.trial(best["trial_id"])

    def trial(self, number: str | int) -> Trial:
        """Return one trial; raises StoreError if there is none of that number."""
        run = self._stored
        trial_id = store.find_trial(run, str(number))
        found = (trial for trial in run.result["trials"] if trial["trial_id"] == trial_id)
        return Trial.from_json(next(found))

    @property
    def model(self) -> Path | None:
        """Folder of the exported model; None if there is none."""
        if self.result["model"] is None:
            return None
        return run_storage(self.path).download_folder(MODEL)

    def to_pandas(self) -> "pandas.DataFrame":
        """Make a row for each trial: `config.*`, the best epoch's `metrics.*`, status, seconds."""
        return frames.trial_frame(self.trials)

    def epochs_to_pandas(self) -> "pandas.DataFrame":
        """Make a row for each epoch: `metrics.*`, and seconds of training until its end."""
        return frames.epoch_frame(self.trials, self._seconds())

    def logs(self, trial: str | int) -> str:
        """Return what a trial has printed; raises StoreError if there is no such trial."""
        run = self._stored
        trial_id = store.find_trial(run, str(trial))
        return "".join(trial_output.read_output(run, trial_id, follow=False))

    def wait(self) -> None:
        """Wait for the end of the run: with a live table in a terminal or a notebook.

        Elsewhere it prints the messages of a run that was started here. Ctrl-C, or the interrupt
        of a notebook's cell, saves and ends such a run, and leaves others alone.

        Raises CommandError, with the command's sentence, if a run that was started here fails.
        """
        command = self._command
        if command is None:
            with shown(self.path) as update:
                while run_storage(self.path).is_running():
                    update()
                    time.sleep(WATCH_S)
            store.wait_for_end(self._stored)
        else:
            with shown(self.path, command) as update:
                command.wait(update)
            command.show_result()

    def resume(self, *, wait: bool = True, **flags: Any) -> None:
        """Go on with a run that was interrupted, or that is to have more trials.

        Args:
            wait: Show the run until it ends; else return once it goes on.
            flags: Flags of `python -m app.tune` that may change, such as `num_samples=20`.

        Raises:
            CommandError: It cannot go on or, with `wait`, failed; the message is the command's.
        """
        words = as_flags({"resume": self.name, "runs": location(self.path.parent), **flags})
        self._command = command = Command("app.tune", *words)
        if wait:
            self.wait()
            return
        storage = run_storage(self.path)
        with command.interruptible(command.new_lines):
            while not storage.is_running() and not command.has_ended:
                time.sleep(POLL_S)
        command.check()

    def stop(self, *, wait: bool = True) -> None:
        """End the run, which exports its best model so far; with `wait`, return after its end.

        Raises StoreError if it is not running.
        """
        run = self._stored
        store.request_stop(run)
        if wait:
            store.wait_for_end(run)
            if self._command is not None:
                self._command.wait()

    def export(self, trial: str | int | None = None, to: str | Path | None = None) -> Path:
        """Export a trial's model, and return its folder.

        Args:
            trial: Number of the trial; the best by default.
            to: Folder of the model; by default the run's own is replaced.

        Raises:
            CommandError: The trial has no model, or the run is still going on.
        """
        target = None if to is None else Path(to).absolute()
        flags = as_flags({"runs": location(self.path.parent), "trial": trial, "to": target})
        Command("app.runs", "export", self.name, *flags).wait()
        return target or self.path / MODEL

    def model_of(self, trial: str | int) -> Path:
        """Find the folder of a trial's model, exporting it to `models/` of the run if needed.

        Raises StoreError if the trial has no model, with the reason.
        """
        run = self._stored
        trial_id = store.find_trial(run, str(trial))
        best, has_model = run.result["best"], run.result["model"] is not None
        own = self.model
        for folder in (own, self.path / MODELS / trial_id):
            if folder is not None and has_model and _exported(folder) == trial_id:
                return folder
        if not has_model and (best is None or best["trial_id"] == trial_id):
            raise StoreError(f"{self.name} has no model: it is {self.describe_status()}")
        try:
            return self.export(trial_id, self.path / MODELS / trial_id)
        except CommandError as error:
            raise StoreError(f"{self.name} has no model of trial {trial_id}: {error}") from error

    def report(self, to: str | Path | None = None) -> "Report":
        """Write the run's report, and return it: the last line of a notebook's cell shows it.

        Args:
            to: The file; by default `report.html` of the run is replaced.

        Raises:
            StoreError: It cannot be written.
        """
        from app.report import page

        run = self._stored
        page.fetch(run)
        if to is None:
            return page.Report(page.write_report(run))
        return page.Report(page.write_to(run, Path(to).absolute()))

    def serve(self, port: int = 8080, *, trial: str | int | None = None, **flags: Any) -> Endpoint:
        """Serve the model on this machine, and return once it answers.

        Args:
            port: Port to listen on; 0 chooses one that is free.
            trial: Trial whose model is served, in place of the run's own.
            flags: Flags of `python -m serve` by name, such as `workers=2`.

        Raises:
            StoreError: There is no model, with the reason.
            CommandError: The server does not start; the message is its own.
        """
        model = self.model if trial is None else self.model_of(trial)
        if model is None:
            raise StoreError(f"{self.name} has no model: it is {self.describe_status()}")
        return Endpoint.start(model, port=port, **flags)

    def describe_status(self) -> str:
        """Return the status with its reason, or the first error, behind it."""
        result = self.result
        errors = [trial["error"] for trial in result["trials"] if trial["error"]]
        first_line = errors[0].split("\n", 1)[0] if errors else None
        reason = result["reason"] or result["model_error"] or first_line
        return f"{result['status']}: {reason}" if reason else str(result["status"])

    def __repr__(self) -> str:
        with suppress(StoreError):
            return f"<Run {self.name}: {self.status}>"
        return f"<Run {self.name}>"

    def _repr_html_(self) -> str | None:
        """Show the report in a notebook; nothing but the name where the run cannot be read."""
        from app.report import page

        with suppress(StoreError):
            run = self._stored
            page.fetch(run)
            return page.framed(page.render(run))
        return None

    @property
    def _stored(self) -> store.Run:
        run_storage(self.path).refresh(RESULT)
        return store.read(self.path)

    def _seconds(self) -> frames.Seconds:
        """Read from the journal when each epoch ended."""
        run_storage(self.path).refresh(JOURNAL)
        journal = self.path / JOURNAL
        trained: dict[str, float] = defaultdict(float)
        seconds = {}
        for event in journal_reader.read_events(journal) if journal.exists() else ():
            if event["event"] == "epoch":
                trial_id = event["trial_id"]
                trained[trial_id] += event["seconds"]
                seconds[trial_id, event["epoch"]] = trained[trial_id]
        return seconds


def _exported(folder: Path) -> str | None:
    """Return the trial whose model a folder holds; None if it holds none."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None
    return str(manifest.get("trial_id"))
