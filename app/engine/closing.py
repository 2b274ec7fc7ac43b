"""Lines that a search prints at its end: the best trial, its model, and what was lost or saved."""

from pathlib import Path
from typing import Any

from app.experiment.early_stopping import OFF
from app.experiment.schema import Experiment
from app.report import REPORT
from app.run import failure_summary
from app.run.commands import run_arguments, show_command
from app.run.formatting import configuration, count, duration, number, times
from app.run.layout import WEIGHTS
from app.run.record import Record
from app.run.status import TrialStatus
from app.run.summaries import model_remark
from app.storage.working_copy import location


def closing_lines(result: dict[str, Any], folder: Path) -> list[str]:
    """Say which trial is best, where its model and report are, and how to serve it.

    Args:
        result: What `result.json` holds.
        folder: The run's folder.
    """
    best = result["best"]
    metrics = "  ".join(f"{name} {number(value)}" for name, value in best["metrics"].items())
    lines = [
        f"best: trial {best['trial_id']}  {configuration(best['config'])}",
        f"      epoch {best['epoch']}  {metrics}",
    ]
    if result["model"]:
        remark = model_remark(result)
        model = folder / result["model"]
        lines.append(f"model: {location(model)}" + (f" ({remark})" if remark else ""))
        lines.append(how_to_serve(folder, model))
    if (folder / WEIGHTS).is_file():
        lines.append(f"weights: {location(folder / WEIGHTS)}")
    if (folder / REPORT).is_file():
        lines.append(f"report: {location(folder / REPORT)}")
    reason = f"; {result['reason']}" if result["reason"] else ""
    return [
        *lines,
        *_losses(result),
        *failure_summary.describe_failures(result),
        *failure_summary.describe_lost_best(result, run_arguments(folder)),
        f"look again: {show_command(folder)}",
        f"{count(len(result['trials']), 'trial')} in {duration(result['seconds'])}{reason}",
    ]


def how_to_serve(folder: Path, model: Path) -> str:
    """Name the command that serves a run's model, or say why none does."""
    from app.export.servable import find_obstacle

    # A model behind a URI may be there alone: the server fetches it first.
    if model.is_dir() and (obstacle := find_obstacle(model)) is not None:
        return f"it cannot be served: {obstacle}"
    return f"serve it: python -m serve {run_arguments(folder)}"


def early_stopping_lines(experiment: Experiment, record: Record) -> list[str]:
    """Say which trials early stopping stopped, and how many epochs that saved."""
    if experiment.kind.expected_epochs is None or experiment.early_stopping.name == OFF:
        return []
    rule = f"early stopping ({experiment.early_stopping.name})"
    lines = []
    if record.stopped:
        first = record.trials[record.stopped[0]]
        which = f"trial {first.trial_id} after epoch {first.epochs}"
        is_one = len(record.stopped) == 1
        several = f"{len(record.stopped)} trials; first {which}"
        lines.append(f"{rule} stopped {which if is_one else several}")
    trials = [trial for trial in record.trials.values() if trial.status != TrialStatus.FAILED]
    whole = experiment.epochs * len(trials)
    saved = whole - sum(trial.epochs for trial in trials)
    amount = f"{saved} of {count(whole, 'epoch')}" if saved else "nothing"
    return [*lines, f"{rule} saved {amount}"]


def _losses(result: dict[str, Any]) -> list[str]:
    """Name the nodes that were lost, and the trials that were restarted."""
    lines = [
        f"node {node} was lost; "
        + (f"went on elsewhere: trial {', '.join(trials)}" if trials else "no trial was on it")
        for node, trials in result["lost_nodes"].items()
    ]
    restarted = [
        f"trial {trial['trial_id']} {times(trial['restarts'])}"
        for trial in result["trials"]
        if trial["restarts"]
    ]
    if restarted:
        lines.append(f"started again from the last checkpoint: {', '.join(restarted)}")
    return lines
