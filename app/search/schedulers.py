"""Early-stopping rules by name, set for trials of a few epochs, and criteria that end a run.

As they come, Ray's median rule never stops a short trial, since it waits for 60 seconds, and its
ASHA judges after the first epoch and then hardly again. The settings are chosen by replaying
recorded learning curves, which `python -m tests.benchmarks.replay stopping` does.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.run.status import RunStatus

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler

    from app.experiment.schema import Experiment
    from app.run.record import Record

EPOCH = "training_iteration"


def _off(epochs: int) -> "TrialScheduler":
    from ray.tune.schedulers import FIFOScheduler

    return FIFOScheduler()


def _median(epochs: int, *, grace: int = 0, min_samples: int = 3) -> "TrialScheduler":
    """Stops a trial whose best so far is worse than the median of the others' running means."""
    from app.search.median_stopping import Median

    return Median(
        grace=grace,
        time_attr=EPOCH,
        grace_period=1,
        min_samples_required=min_samples,
        # Ray would pause trials while it has seen too few; a short trial is better finished.
        min_time_slice=math.inf,
    )


def _asha(epochs: int, *, grace: int = 0, keep: float = 1 / 3) -> "TrialScheduler":
    """Successive halving: after every epoch, what is not among the best part stops."""
    from app.search.successive_halving import Halving

    return Halving(EPOCH, keep=keep, grace=grace)


RULES: Mapping[str, Callable[..., "TrialScheduler"]] = {
    "off": _off,
    "median": _median,
    "asha": _asha,
}
"""Schedulers by the names of `app.experiment.early_stopping.RULES`."""


@dataclass(frozen=True)
class Ending:
    """Why a run ends before all its trials have."""

    status: RunStatus
    reason: str


def ending(experiment: "Experiment", record: "Record", seconds: float) -> Ending | None:
    """What ends a run now, by what it was asked for; None while nothing does."""
    for criterion in CRITERIA:
        reason = criterion(experiment, record, seconds)
        if reason is not None:
            return Ending(RunStatus.COMPLETED, reason)
    return None


def _budget(experiment: "Experiment", record: "Record", seconds: float) -> str | None:
    budget = experiment.time_budget
    return (
        None if budget is None or seconds < budget else f"its time budget of {budget:g} s is spent"
    )


def _target(experiment: "Experiment", record: "Record", seconds: float) -> str | None:
    if experiment.target is None:
        return None
    best = record.best_value
    if best is None or experiment.objective.better(experiment.target, best):
        return None
    return f"{record.metric} {best:g} reached its target of {experiment.target:g}"


def _patience(experiment: "Experiment", record: "Record", seconds: float) -> str | None:
    patience = experiment.patience
    if patience is None or record.without_better < patience:
        return None
    trials = "1 trial" if patience == 1 else f"{patience} trials in a row"
    return f"{trials} ended without a better {record.metric}"


def _convergence(experiment: "Experiment", record: "Record", seconds: float) -> str | None:
    part, bests = experiment.convergence, record.bests
    trials = max(CONVERGED_TRIALS, 2 * len(experiment.space))
    if part is None or len(bests) <= trials:
        return None
    improved = abs(bests[-1 - trials] - bests[-1])
    if improved >= part * abs(bests[-1 - trials]):
        return None
    return f"the last {trials} trials improved {record.metric} by less than {part:.3g} of it"


CRITERIA: tuple[Callable[["Experiment", "Record", float], str | None], ...] = (
    _target,
    _patience,
    _convergence,
    _budget,
)
"""What completes a run before its number of trials, the first that holds."""
CONVERGED_TRIALS = 5
"""Trials that must agree that a search converged, or two a parameter where that is more."""
