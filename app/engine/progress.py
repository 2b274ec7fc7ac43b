"""Progress of a run on stderr: a live table in a terminal, plain lines elsewhere."""

import time
from typing import TYPE_CHECKING, TextIO

from app.cluster import connection, resources
from app.run.formatting import configuration, count, duration, number
from app.run.status import TrialStatus
from app.run.trial import Trial
from app.storage.working_copy import location
from app.terminal import escaped, in_one_line

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

    from app.engine.plan import Plan, Progress


def progress(stream: TextIO) -> "Progress":
    """Return a table for a terminal, lines for other streams."""
    return LiveTable(stream) if stream.isatty() else Lines(stream)


class Lines:
    """Prints a line for each event, for logs and pipes."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def start(self, plan: "Plan") -> None:
        """Say what runs, and where."""
        self.plan = plan
        self.began = time.monotonic()
        self.epochs_before = epochs_done(plan)
        self.say(opening(plan))

    def update(self, event: str, trial: Trial) -> None:
        """Print a line for a start, an epoch, a restart or an end."""
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
            f"epoch {progressed(trial, self.plan)}"
            f"  {metric} {number(trial.history[-1].metrics[metric])}"
            f"  best {best_so_far(self.plan)}"
            f"  {self.left()}"
        ).rstrip()

    def left(self) -> str:
        """Estimate the time left from the epochs so far."""
        if self.plan.experiment.kind.expected_epochs is None:
            return ""
        total = self.plan.experiment.num_samples * self.plan.experiment.epochs
        done = epochs_done(self.plan)
        seconds = time.monotonic() - self.began
        if done == self.epochs_before:
            return ""
        rest = seconds / (done - self.epochs_before) * (total - done)
        return f"about {duration(rest)} left" if rest > 0 else ""


class LiveTable(Lines):
    """Draws a table in place, with lines above it."""

    live: "Live | None" = None
    """The table, once it is drawn."""

    def start(self, plan: "Plan") -> None:
        """Say what runs, and draw the table."""
        from rich.console import Console
        from rich.live import Live

        super().start(plan)
        console = Console(file=self.stream, highlight=False)
        self.live = Live(
            console=console, get_renderable=self._table, refresh_per_second=2, transient=False
        )
        self.live.start()

    def update(self, event: str, trial: Trial) -> None:
        """Print a line for a restart or a failure; the table shows the rest."""
        if event == "restart":
            self._print(restart(trial))
        if event == "back":
            self._print(back(trial))
        if event == "end" and trial.status == TrialStatus.FAILED:
            self._print(f"trial {trial.trial_id} failed{_because(trial)}")

    def stop(self) -> None:
        """Leave the last table, if there is one."""
        if self.live is not None:
            self.live.stop()

    def _print(self, text: str) -> None:
        assert self.live is not None  # it starts before the first event
        self.live.console.print(escaped(text), markup=False)

    def _table(self) -> "Table":
        from rich.table import Table
        from rich.text import Text

        experiment, record = self.plan.experiment, self.plan.record
        best = record.best
        done = sum(trial.is_finished for trial in record.trials.values())
        title = f"{record.name}: {done} of {experiment.num_samples} trials  {self.left()}"
        table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
        for column in ("trial", *experiment.space, "epoch", experiment.metric, "best", "status"):
            table.add_column(
                Text(in_one_line(column)),
                justify="left" if column in ("trial", "status") else "right",
            )
        for trial in record.in_order()[-MOST_ROWS:]:
            style = "bold green" if trial is best else None
            table.add_row(*map(Text, self._row(trial)), style=style)
        return table

    def _row(self, trial: Trial) -> list[str]:
        experiment = self.plan.experiment
        metric = experiment.metric
        best = trial.best_epoch
        return [
            trial.trial_id,
            *(in_one_line(number(trial.config.get(name, ""))) for name in experiment.space),
            progressed(trial, self.plan),
            number(trial.history[-1].metrics[metric]) if trial.history else "",
            number(best.metrics[metric]) if best else "",
            trial.status,
        ]


MOST_ROWS = 30
"""Number of trials that a live table shows: the newest."""


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
    entry = "" if token is None else f" (it asks for the token in {token})"
    return f"{line}; Ray dashboard http://{machine.dashboard}{entry}"


def restart(trial: Trial) -> str:
    """Say that a trial's process was lost, and from which epoch it goes on."""
    return f"trial {trial.trial_id}  {_going_on(trial)}: {trial.restart_reason}"


def back(trial: Trial) -> str:
    """Say that a trial's checkpoint is lost, and from which epoch it goes on."""
    return f"trial {trial.trial_id}  {_going_on(trial)}: {trial.rewind_reason}"


def _going_on(trial: Trial) -> str:
    return f"goes on after epoch {trial.epochs}" if trial.epochs else "begins again"


def progressed(trial: Trial, plan: "Plan") -> str:
    """Return the number of a trial's epochs, of those that it will have."""
    expected = plan.experiment.kind.expected_epochs
    return str(trial.epochs) if expected is None else f"{trial.epochs}/{expected}"


def best_so_far(plan: "Plan") -> str:
    """Return the best value and its trial."""
    best = plan.record.best
    if best is None or best.best_epoch is None:
        return "none"
    return f"{number(best.best_epoch.metrics[plan.record.metric])} (trial {best.trial_id})"


def epochs_done(plan: "Plan") -> int:
    """Count the epochs of all trials; a trial that ended early counts as whole."""
    return sum(
        plan.experiment.epochs if trial.is_finished else trial.epochs
        for trial in plan.record.trials.values()
    )


def _because(trial: Trial) -> str:
    return ": " + trial.error.split("\n", 1)[0] if trial.error else ""
