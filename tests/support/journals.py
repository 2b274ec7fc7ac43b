"""Events of trials, written to a journal, and the `result.json` that they lead to."""

import json
from pathlib import Path
from typing import Any, NoReturn

from app.experiment.run_folder import JOURNAL
from app.run.journal import Journal
from app.run.record import Record
from app.run.result_file import RESULT

VERSIONS = {"ray": "2", "torch": "2", "optuna": "5"}


def record(mode: str = "min") -> Record:
    return Record("r", "loss", mode, seed=0)


def begin_journal(folder: Path, at: float) -> None:
    """Write the first event of a run that began at that time, in seconds since 1970."""
    event = {"event": "run", "versions": {}, "time": at, "run_seconds": 0.0}
    (folder / JOURNAL).write_text(json.dumps(event) + "\n")


def start(journal: Journal, trial_id: str, *, leg: int = 1, **config: Any) -> None:
    journal.append("trial", trial_id=trial_id, config=config, leg=leg)


def epoch(journal: Journal, trial_id: str, number: int, loss: float | None) -> None:
    journal.append(
        "epoch",
        trial_id=trial_id,
        epoch=number,
        metrics={"loss": loss, "accuracy": None},
        seconds=1.5,
        checkpoint=f"tune/{trial_id}/{number}",
    )


def end(journal: Journal, trial_id: str, status: str, error: str | None = None) -> None:
    journal.append("end", trial_id=trial_id, status=status, error=error)


def result(folder: Path) -> dict[str, Any]:
    """`result.json`, in which only JSON's own numbers may stand."""

    def refuse(constant: str) -> NoReturn:
        raise AssertionError(f"{constant} is no JSON")

    text = (folder / RESULT).read_text()
    return dict(json.loads(text, parse_constant=refuse))
