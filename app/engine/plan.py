"""A run that is about to start, its state, and the protocol by which its progress is shown."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from app.cluster.connection import Cluster
from app.cluster.resources import Resources
from app.experiment.schema import Experiment
from app.run.record import Record
from app.run.trial import Trial


@dataclass(frozen=True)
class RunState:
    """An experiment, and what has come of it so far."""

    experiment: Experiment
    record: Record

    def describe_epochs(self, trial: Trial) -> str:
        """Return the number of a trial's epochs, of those that it will have."""
        expected = self.experiment.kind.expected_epochs
        return str(trial.epochs) if expected is None else f"{trial.epochs}/{expected}"


@dataclass(frozen=True, kw_only=True)
class Plan(RunState):
    """A run on a cluster, with the resources of each trial."""

    folder: Path
    cluster: Cluster
    resources: Resources
    export_best: bool = False
    """Whether the best model so far is exported whenever it improves."""


@dataclass(frozen=True)
class ClusterOptions:
    """The cluster to join, and how long to wait for its nodes."""

    address: str | None = None
    """Its address; None for that of the environment, or to start Ray on this machine."""
    wait_s: float = 0.0
    """Seconds to wait for nodes that have room for a trial."""


class Progress(Protocol):
    """Shows how a run goes."""

    def start(self, plan: Plan) -> None:
        """Show a run before its first trial."""
        ...

    def update(self, event: str, trial: Trial) -> None:
        """Show an event of a trial."""
        ...

    def say(self, text: str) -> None:
        """Show a line."""
        ...

    def stop(self) -> None:
        """Show no more, after the last trial or an interrupt."""
        ...
