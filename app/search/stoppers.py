"""Stoppers: criteria that end a run before all of its trials are trained."""

from collections.abc import Callable
from dataclasses import dataclass

from app.experiment.schema import Experiment
from app.run.record import Record
from app.run.status import RunStatus

CONVERGENCE_TRIALS = 5
"""Trials without improvement of which a search has converged; two for each parameter if more."""


@dataclass(frozen=True)
class Ending:
    """The status that a run ends with before all its trials are trained, and the reason."""

    status: RunStatus
    reason: str


def apply_stoppers(experiment: Experiment, record: Record, seconds: float) -> Ending | None:
    """Return how the first stopper that applies ends a run; None if the run goes on.

    Args:
        experiment: The experiment, whose keys set the stoppers.
        record: The run so far.
        seconds: How long the run has taken.
    """
    reasons = (stopper(experiment, record, seconds) for stopper in STOPPERS)
    reason = next((reason for reason in reasons if reason is not None), None)
    return None if reason is None else Ending(RunStatus.COMPLETED, reason)


def _target(experiment: Experiment, record: Record, seconds: float) -> str | None:
    if experiment.target is None:
        return None
    best = record.best_value
    if best is None or experiment.objective.better(experiment.target, best):
        return None
    return f"{record.metric} {best:g} reached its target of {experiment.target:g}"


def _patience(experiment: Experiment, record: Record, seconds: float) -> str | None:
    patience = experiment.patience
    if patience is None or record.without_better < patience:
        return None
    trials = "1 trial" if patience == 1 else f"{patience} trials in a row"
    return f"{trials} ended without a better {record.metric}"


def _convergence(experiment: Experiment, record: Record, seconds: float) -> str | None:
    part, bests = experiment.convergence, record.bests
    trials = max(CONVERGENCE_TRIALS, 2 * len(experiment.space))
    if part is None or len(bests) <= trials:
        return None
    improvement = abs(bests[-1 - trials] - bests[-1])
    if improvement >= part * abs(bests[-1 - trials]):
        return None
    return f"the last {trials} trials improved {record.metric} by less than {part:.3g} of it"


def _time_budget(experiment: Experiment, record: Record, seconds: float) -> str | None:
    budget = experiment.time_budget
    if budget is None or seconds < budget:
        return None
    return f"its time budget of {budget:g} s is spent"


STOPPERS: tuple[Callable[[Experiment, Record, float], str | None], ...] = (
    _target,
    _patience,
    _convergence,
    _time_budget,
)
"""Stoppers in the order in which they are asked; each returns its reason, or None."""
