"""A run that is about to start, its events, and a clock that a test moves."""

from pathlib import Path
from typing import Any

from app.cluster.connection import Cluster, Node
from app.cluster.resources import Resources
from app.engine.plan import Plan
from app.experiment import schema
from app.experiment.schema import Experiment
from app.run.record import Record

EXPERIMENT = {
    "name": "own",
    "trainable": "mine.py:Mine",
    "metric": "loss",
    "mode": "max",
    "num_samples": 3,
    "max_concurrent": 2,
    "epochs": 2,
    "search": "random",
    "space": {
        "x": {"type": "continuous", "low": 0.0, "high": 1.0},
        "kind": {"type": "categorical", "values": ["a", "b"]},
    },
}


class Clock:
    """Seconds that go by only where a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def plan(*, nodes: int = 1, gpus: float = 0, dashboard: str | None = None, **changes: Any) -> Plan:
    own: Experiment = schema.from_table({**EXPERIMENT, **changes})
    machine = Cluster((Node(4.0 / nodes, gpus / nodes),) * nodes, dashboard, is_local=nodes == 1)
    share = Resources(cpus=0.5, gpus=gpus / 2, at_once=2)
    record = Record("own-1", "loss", "max", seed=0)
    return Plan(own, record, folder=Path("/runs/own-1"), cluster=machine, resources=share)


def apply(record: Record, event: str, trial_id: str, **fields: Any) -> None:
    record.apply({"event": event, "trial_id": trial_id, "run_seconds": 0.0, **fields})


def epoch(number: int, loss: float | None) -> dict[str, Any]:
    return {"epoch": number, "metrics": {"loss": loss}, "seconds": 1.0, "checkpoint": None}
