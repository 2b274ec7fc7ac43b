"""Statuses of runs and trials, as `result.json` spells them."""

from enum import StrEnum


class RunStatus(StrEnum):
    """The state of a run."""

    RUNNING = "running"
    COMPLETED = "completed"
    """It did what was asked, or its budget, target or patience ended it."""
    STOPPED = "stopped"
    """By `app.runs stop`."""
    INTERRUPTED = "interrupted"
    """By a signal, or its process was lost; it can be resumed."""
    FAILED = "failed"


class TrialStatus(StrEnum):
    """The state of a trial."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    STOPPED = "stopped"
    """By early stopping, or because the search ended."""
    INTERRUPTED = "interrupted"
    """With its run; it goes on when the run is resumed."""
    FAILED = "failed"


FINISHED = (TrialStatus.COMPLETED, TrialStatus.STOPPED, TrialStatus.FAILED)
"""Statuses with which a trial ends."""
SUCCESSFUL = (TrialStatus.COMPLETED, TrialStatus.STOPPED)
"""Statuses of trials that did all that they were to do."""
