"""A run that has ended, written by hand."""

import json
from pathlib import Path

import pytest

from app.experiment.loading import load
from app.run.journal import Journal
from app.run.layout import EXPERIMENT
from app.storage.files import replace_file
from app.storage.trial_files import log_path
from tests.support.experiments import write_quadratic
from tests.support.journals import VERSIONS, end, epoch, record, start


@pytest.fixture
def ended(tmp_path: Path) -> Path:
    """Three trials: one has a value, one failed with what it searched besides, one was stopped."""
    folder = tmp_path / "runs" / "ended"
    folder.mkdir(parents=True)
    table = load(write_quadratic(tmp_path / "quadratic.toml"), {}).as_json()
    replace_file(folder / EXPERIMENT, json.dumps({**table, "data": {}}))
    journal = Journal(folder, record())
    journal.append("run", versions=VERSIONS)
    start(journal, "001", x=0.1)
    start(journal, "002", x=0.2, y="a")
    start(journal, "003", x=0.3)
    epoch(journal, "001", 1, 0.5)
    epoch(journal, "001", 2, 0.25)
    epoch(journal, "003", 1, 0.75)
    end(journal, "001", "completed")
    end(journal, "002", "failed", "too far out\n  at line 3")
    end(journal, "003", "stopped")
    journal.append("status", status="completed", reason="the target is reached")
    journal.close()
    log_path(folder, "001").parent.mkdir()
    log_path(folder, "001").write_text("hello\n")
    return folder
