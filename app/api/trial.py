"""A trial of a run, as a notebook reads it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from app.run.status import TrialStatus


@dataclass(frozen=True)
class Trial:
    """One configuration and how its training went; the fields are those of `result.json`."""

    trial_id: str
    status: TrialStatus
    config: dict[str, Any]
    epochs: int
    """Epochs that are done."""
    metrics: dict[str, Any]
    """Metrics of its best epoch; empty if it has reported none."""
    history: list[dict[str, Any]]
    """Metrics of each epoch, and its number as `epoch`."""
    seconds: float
    error: str | None
    restarts: int

    @classmethod
    def from_json(cls, table: Mapping[str, Any]) -> Self:
        """Read a trial of `result.json`."""
        known = {name: table[name] for name in cls.__dataclass_fields__}
        return cls(**{**known, "status": TrialStatus(table["status"])})
