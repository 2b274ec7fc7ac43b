"""All runs in rows, each as it is now."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from app.experiment.run_folder import JOURNAL
from app.run.journal import Journal
from app.run.layout import EXPERIMENT
from app.run.record import Record
from app.run.result_file import RESULT
from app.run.summaries import summaries
from tests.support.journals import begin_journal


def begin_run(runs: Path, name: str, *, at: float = 1.0) -> Journal:
    """A run with one trial that is going on, begun at that time."""
    folder = runs / name
    folder.mkdir(parents=True)
    (folder / EXPERIMENT).touch()
    begin_journal(folder, at)
    return resume_run(folder)


def resume_run(folder: Path) -> Journal:
    journal = Journal(folder, Record(folder.name, "loss", "min", seed=0))
    journal.append("run", versions={})
    journal.append("trial", trial_id="001", config={"x": 1}, leg=1)
    return journal


def complete_run(runs: Path, name: str, *, at: float = 1.0) -> Path:
    """A run that completed."""
    journal = begin_run(runs, name, at=at)
    journal.append("end", trial_id="001", status="completed", error=None)
    journal.append("status", status="completed", reason=None)
    journal.close()
    return runs / name


def statuses(runs: Path) -> dict[str, str]:
    return {row["name"]: row["status"] for row in summaries(runs)}


def test_the_newest_run_is_first(tmp_path: Path) -> None:
    for name, at in (("b", 20.0), ("a", 30.0), ("c", 10.0)):
        begin_run(tmp_path, name, at=at).close()
    assert list(statuses(tmp_path)) == ["a", "b", "c"]


def test_a_run_that_went_on_began_with_its_first_attempt(tmp_path: Path) -> None:
    folder = complete_run(tmp_path, "a")
    resume_run(folder).close()
    (folder / JOURNAL).unlink()  # as in a working copy of a run behind a URI
    (row,) = summaries(tmp_path)
    assert row["began"] == "1970-01-01T00:00:01.000+00:00"


def test_a_run_of_an_older_version_without_a_journal_here_began_with_its_experiment(
    tmp_path: Path,
) -> None:
    folder = complete_run(tmp_path, "a")
    result = json.loads((folder / RESULT).read_text())
    (folder / RESULT).write_text(json.dumps({**result, "began": None}))
    (folder / JOURNAL).unlink()
    os.utime(folder / EXPERIMENT, (60.0, 60.0))
    (row,) = summaries(tmp_path)
    assert row["began"] == "1970-01-01T00:01:00.000+00:00"


def test_where_there_are_no_runs_there_is_no_row(tmp_path: Path) -> None:
    assert summaries(tmp_path / "nowhere") == []
    assert summaries(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_only_begins_to_exist_has_no_row(tmp_path: Path) -> None:
    begin_run(tmp_path, "mnist").close()
    (tmp_path / "empty").mkdir()
    (tmp_path / "beginning").mkdir()
    (tmp_path / "beginning" / JOURNAL).touch()
    (tmp_path / "odd" / RESULT).mkdir(parents=True)
    (tmp_path / "notes.txt").touch()
    assert list(statuses(tmp_path)) == ["mnist"]


def test_a_folder_whose_name_cannot_be_printed_has_no_row(tmp_path: Path) -> None:
    for name in (b"good", b"two\nlines", b"\xff"):
        shutil.copytree(complete_run(tmp_path / "from", "a"), tmp_path / "runs" / os.fsdecode(name))
        shutil.rmtree(tmp_path / "from")
    assert list(statuses(tmp_path / "runs")) == ["good"]


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, "null", '{"status": "failed"}', "\0"])
def test_a_run_that_cannot_be_read_is_a_row_among_the_others(tmp_path: Path, content: str) -> None:
    complete_run(tmp_path, "good", at=20.0)
    (complete_run(tmp_path, "torn", at=10.0) / RESULT).write_text(content)
    good, torn = summaries(tmp_path)
    assert good["status"] == "completed"
    assert torn.pop("error").startswith(f"cannot read {tmp_path}/torn/result.json: ")
    assert (torn["name"], torn["status"]) == ("torn", "unreadable")


def test_a_run_that_goes_on_is_shown_as_it_is(tmp_path: Path) -> None:
    journal = begin_run(tmp_path, "a")
    assert statuses(tmp_path) == {"a": "running"}
    journal.close()
    assert statuses(tmp_path) == {"a": "interrupted"}
    journal = resume_run(tmp_path / "a")
    assert statuses(tmp_path) == {"a": "running"}
    journal.append("status", status="stopped", reason=None)
    journal.close()
    assert statuses(tmp_path) == {"a": "stopped"}


def test_a_run_that_is_gone_has_no_row(tmp_path: Path) -> None:
    folder = complete_run(tmp_path, "a")
    complete_run(tmp_path, "b")
    summaries(tmp_path)
    shutil.rmtree(folder)
    assert statuses(tmp_path) == {"b": "completed"}


def test_a_row_is_the_outcome_with_its_trials_counted(tmp_path: Path) -> None:
    folder = complete_run(tmp_path, "a")
    result: dict[str, Any] = json.loads((folder / RESULT).read_text())
    del result["versions"], result["lost_nodes"]
    origin = {"began": "1970-01-01T00:00:01.000+00:00", "experiment": None}
    assert summaries(tmp_path) == [{**result, "trials": 1, "finished": 1, **origin}]
