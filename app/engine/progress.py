"""Progress of a run on stderr: a live table in a terminal, plain lines elsewhere."""

import os
import shlex
import sys
from typing import TYPE_CHECKING, TextIO

from app.cluster import connection, resources
from app.engine.time_left import TimeLeft
from app.run.formatting import configuration, count, number
from app.run.status import TrialStatus
from app.run.trial import Trial
from app.storage.working_copy import location
from app.terminal import escaped

if TYPE_CHECKING:
    from rich.live import Live

    from app.engine.plan import Plan, Progress


def progress(stream: TextIO) -> "Progress":
    """Return a table for a terminal or a notebook, lines for other streams."""
    return LiveTable(stream) if can_redraw(stream) else Lines(stream)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    if "ipykernel" not in sys.modules:
        return False
    from rich.console import Console

    return Console().is_jupyter


def can_redraw(stream: TextIO) -> bool:
    """Whether what was drawn can be replaced: not in a log of continuous integration."""
    if in_notebook():
        return True
    is_log = os.environ.get("TERM") in PLAIN_TERMINALS or bool(os.environ.get("CI"))
    return stream.isatty() and not is_log


PLAIN_TERMINALS = ("dumb", "unknown")
"""Values of `TERM` for terminals whose cursor cannot be moved."""


class Lines:
    """Prints a line for each event, for logs and pipes."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def start(self, plan: "Plan") -> None:
        """Say what runs, and where."""
        self.plan = plan
        self.time_left = TimeLeft(plan)
        self.say(opening(plan))

    def update(self, event: str, trial: Trial) -> None:
        """Print a line for a start, an epoch, a restart or an end."""
        self.time_left.update(event, trial)
        if event == "trial":
            going_on = f", goes on after epoch {trial.epochs}" if trial.epochs else ""
            self.say(f"trial {trial.trial_id}  {configuration(trial.config)}{going_on}")
        elif event == "epoch":
            self.say(f"trial {trial.trial_id}  {self._epoch(trial)}")
        elif event == "restart":
            self.say(restart(trial))
        elif event == "back":
            self.say(back(trial))
        elif event == "end" and trial.status != TrialStatus.COMPLETED:
            self.say(f"trial {trial.trial_id}  {trial.status}{_because(trial)}")
            for line in (trial.error or "").splitlines()[1:]:
                self.say(f"  | {line}")

    def say(self, text: str) -> None:
        """Print a line."""
        print(escaped(text), file=self.stream, flush=True)

    def stop(self) -> None:
        """Do nothing."""

    def _epoch(self, trial: Trial) -> str:
        metric = self.plan.experiment.metric
        return (
            f"epoch {self.plan.describe_epochs(trial)}"
            f"  {metric} {number(trial.history[-1].metrics[metric])}"
            f"  best {best_so_far(self.plan)}"
            f"  {self.time_left.describe()}"
        ).rstrip()


class LiveTable(Lines):
    """Draws a table in place, with lines above it."""

    live: "Live | None" = None
    """The table, while it is drawn."""

    def start(self, plan: "Plan") -> None:
        """Say what runs, and draw the table."""
        from app.engine.live_display import live_table

        self.plan = plan
        self.time_left = TimeLeft(plan)
        self.live = live_table(self.stream, plan, self.time_left)
        for part in opening(plan).split("; "):
            self.say(part)
        self.live.start(refresh=True)

    def update(self, event: str, trial: Trial) -> None:
        """Print a line for a trial that goes on elsewhere or again; the table shows the rest."""
        self.time_left.update(event, trial)
        if event == "restart":
            self.say(restart(trial))
        elif event == "back":
            self.say(back(trial))

    def say(self, text: str) -> None:
        """Print a line, above the table while there is one."""
        if self.live is None:
            super().say(text)
        else:
            self.live.console.print(escaped(text), markup=False)

    def stop(self) -> None:
        """Leave the last table, if there is one."""
        if self.live is not None:
            if self.live.console.is_jupyter:  # where `stop` draws no more
                self.live.refresh()
            self.live.stop()
            self.live = None


def opening(plan: "Plan") -> str:
    """Say what will run, where, with what resources, and where the dashboard listens."""
    experiment, share, machine = plan.experiment, plan.resources, plan.cluster
    nodes = count(len(machine.nodes), "node")
    where = "this machine" if machine.is_local else f"a cluster of {nodes}"
    gpus = f" and {machine.gpus:g} GPUs" if machine.gpus else ""
    workers = "" if share.workers == 1 else f"{count(share.workers, 'worker')} of "
    amount = f"{workers}{resources.amount(share)}"
    expected = experiment.kind.expected_epochs
    epochs = "" if expected is None else f" of {count(expected, 'epoch')}"
    line = (
        f"{plan.folder.name}: {count(experiment.num_samples, 'trial')}{epochs},"
        f" {share.at_once} at a time,"
        f" {experiment.search} search over {', '.join(experiment.space)};"
        f" on {where} ({machine.cpus:g} CPUs{gpus}), {amount} and {count(share.threads, 'thread')}"
        f" a trial; in {location(plan.folder)}"
    )
    if machine.dashboard is None:
        return line
    token = connection.token_path()
    entry = "" if token is None else f", whose token this prints: cat {shlex.quote(str(token))}"
    return f"{line}; Ray dashboard http://{machine.dashboard}{entry}"


def restart(trial: Trial) -> str:
    """Say that a trial's process was lost, and from which epoch it goes on."""
    return f"trial {trial.trial_id}  {_going_on(trial)}: {trial.restart_reason}"


def back(trial: Trial) -> str:
    """Say that a trial's checkpoint is lost, and from which epoch it goes on."""
    return f"trial {trial.trial_id}  {_going_on(trial)}: {trial.rewind_reason}"


def _going_on(trial: Trial) -> str:
    return f"goes on after epoch {trial.epochs}" if trial.epochs else "begins again"


def best_so_far(plan: "Plan") -> str:
    """Return the best value and its trial."""
    best = plan.record.best
    if best is None or best.best_epoch is None:
        return "none"
    return f"{number(best.best_epoch.metrics[plan.record.metric])} (trial {best.trial_id})"


def _because(trial: Trial) -> str:
    return ": " + trial.error.split("\n", 1)[0] if trial.error else ""
