"""A run of one trial, followed by the loggers that its experiment names."""

from pathlib import Path
from typing import Any

from app.experiment import schema
from app.experiment.schema import Experiment
from app.loggers import following
from app.run.journal import Journal
from tests.support.journals import end, epoch, record, start

TABLE: dict[str, Any] = {
    "name": "q",
    "trainable": "my_file.py:train",
    "metric": "loss",
    "mode": "min",
    "space": {"x": {"type": "continuous", "low": 0.0, "high": 1.0}},
}


def experiment(*names: str) -> Experiment:
    return schema.from_table({**TABLE, "log_to": list(names)})


def with_trial(folder: Path, names: tuple[str, ...]) -> list[str]:
    """Log a run of one trial; return the warnings."""
    said: list[str] = []
    journal = Journal(folder, record())
    with following(journal, experiment(*names), said.append):
        start(journal, "001", x=0.5)
        epoch(journal, "001", 1, 0.25)
        epoch(journal, "001", 2, None)
        end(journal, "001", "completed")
    journal.append("status", status="completed", reason=None)
    journal.close()
    return said
