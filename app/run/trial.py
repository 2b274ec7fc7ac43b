"""One trial of a run: its configuration, epochs, checkpoints and status."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.run.status import FINISHED, TrialStatus
from app.storage.json_fields import (
    NEEDED,
    TEXT,
    Fields,
    is_config,
    is_count,
    is_history,
    is_metrics,
    is_number,
    is_trial,
    validate,
)

NODE_LOST = re.compile(r"its node .+ was lost")
FIELDS: Fields = {
    "trial_id": (is_trial, NEEDED),
    "status": (str, NEEDED),
    "config": (is_config, {}),
    "epochs": (is_count, 0),
    "metrics": (is_metrics, {}),
    "history": (is_history, []),
    "seconds": (is_number, 0.0),
    "error": (TEXT, None),
    "restarts": (is_count, 0),
}
"""Fields of a trial in `result.json`."""


@dataclass(frozen=True)
class Epoch:
    """The metrics that a trial reported for one epoch."""

    number: int
    """From 1."""
    metrics: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Return the epoch as `history` in `result.json` has it."""
        return {"epoch": self.number, **self.metrics}

    @classmethod
    def from_json(cls, table: Mapping[str, Any]) -> "Epoch":
        """Read what `as_json` wrote."""
        metrics = {name: value for name, value in table.items() if name != "epoch"}
        return cls(table["epoch"], metrics)


@dataclass
class Trial:
    """One configuration and how its training went."""

    trial_id: str
    config: dict[str, Any]
    status: TrialStatus = TrialStatus.PENDING
    history: list[Epoch] = field(default_factory=list)
    best_epoch: Epoch | None = None
    """The epoch whose value counts: that with the best finite one, the first of equals; a
    script's may be the last or the first."""
    checkpoints: dict[int, str] = field(default_factory=dict)
    """The checkpoints of the best and the latest epoch: folders below the run's, by epoch."""
    is_over: bool = False
    """Whether the trainable reported its last epoch as the last."""
    seconds: float = 0.0
    error: str | None = None
    restarts: int = 0
    """How often it went on after its process was lost, or ended by an exception."""
    restart_reason: str | None = None
    """The reason of the last restart."""
    lost_nodes: int = 0
    """How many of its restarts were because its node was lost."""
    rewind_reason: str | None = None
    """Why it goes on from an epoch before its latest, since it last started."""
    attempts: int = 0
    """How often it was started: once, and once more for each time it was resumed."""
    seed: int | None = None
    """The seed that tells repeats of one configuration apart; None without repeats."""

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to train."""
        return self.status in FINISHED

    @property
    def is_sound(self) -> bool:
        """Whether it has a value and did not fail."""
        return self.best_epoch is not None and self.status != TrialStatus.FAILED

    @property
    def is_bad(self) -> bool:
        """Whether its configuration is to blame for its end."""
        return is_config_bad(
            self.status,
            self.error,
            has_reported=bool(self.history),
            has_value=self.best_epoch is not None,
        )

    def number(self) -> int:
        """Return its number in the run, from 1."""
        return int(self.trial_id)

    @property
    def epochs(self) -> int:
        """The number of epochs that are done."""
        return self.history[-1].number if self.history else 0

    @property
    def saved(self) -> list[tuple[int, str]]:
        """Epoch and folder of each checkpoint that it can go on from, the latest first."""
        return sorted(self.checkpoints.items(), reverse=True)

    def as_json(self) -> dict[str, Any]:
        """Return the trial as `result.json` has it."""
        return {
            "trial_id": self.trial_id,
            "status": self.status,
            "config": self.config,
            **({} if self.seed is None else {"seed": self.seed}),
            "epochs": self.epochs,
            "metrics": {} if self.best_epoch is None else self.best_epoch.metrics,
            "history": [epoch.as_json() for epoch in self.history],
            "seconds": round(self.seconds, 3),
            "error": self.error,
            "restarts": self.restarts,
        }


def from_json(name: str, table: Any) -> dict[str, Any]:
    """Check what `Trial.as_json` wrote, and fill in what an older version left out.

    `name` names the table in the ValueError.
    """
    return validate(name, table, FIELDS)


def is_config_bad(status: str, error: str | None, *, has_reported: bool, has_value: bool) -> bool:
    """Whether a configuration is bad: its trial failed by itself, or reported nothing finite.

    A trial that was lost with its nodes, or ended before it reported anything, is not to blame.
    """
    if status == TrialStatus.FAILED:
        return not is_lost(error)
    return status in FINISHED and has_reported and not has_value


def node_lost(node: str) -> str:
    """Return the error of a trial that was lost with its node."""
    return f"its node {node} was lost"


def is_lost(error: str | None) -> bool:
    """Whether a trial's error says that its node was lost."""
    return NODE_LOST.match(error or "") is not None
