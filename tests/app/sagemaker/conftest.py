"""Fixtures of the notebook API: a session, and a run that has ended."""

import json
from pathlib import Path

import pytest

from app import sagemaker
from app.run.journal import Journal
from app.run.layout import EXPERIMENT
from app.run.record import Record
from app.sagemaker import aws
from app.storage.files import replace_file
from tests.support.tuners import METRIC, tuner


@pytest.fixture
def unwarned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the warnings that were given."""
    monkeypatch.setattr(aws, "_warned", set())


@pytest.fixture
def session(tmp_path: Path) -> sagemaker.Session:
    return sagemaker.Session(runs=tmp_path / "runs")


@pytest.fixture
def ended(session: sagemaker.Session) -> Path:
    """A run of three trials, written by hand: one has a value, one failed, one was stopped."""
    folder = session.runs / "ended"
    folder.mkdir(parents=True)
    replace_file(folder / EXPERIMENT, json.dumps({**tuner(session).experiment(), "data": {}}))
    journal = Journal(folder, Record("ended", METRIC, "min", seed=0))
    journal.append("run", versions={})
    for trial_id, size in (("001", 32), ("002", 64), ("003", 64)):
        config = {"lr": 0.01, "batch-size": size}
        journal.append("trial", trial_id=trial_id, config=config, leg=1)
    epoch = {"epoch": 1, "metrics": {METRIC: 0.5}, "seconds": 2.0, "checkpoint": None}
    journal.append("epoch", trial_id="001", **epoch)
    for trial_id, status in (("001", "completed"), ("002", "failed"), ("003", "stopped")):
        error = "ended with 1" if status == "failed" else None
        journal.append("end", trial_id=trial_id, status=status, error=error)
    journal.append("status", status="completed", reason=None)
    journal.close()
    return folder
