"""Runs that are found again: read from their folders, here and in a bucket."""

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from app.api import (
    CommandError,
    Experiment,
    RunStatus,
    StoreError,
    TrialStatus,
    list_runs,
    open_run,
    run,
)
from tests.support.object_store import ObjectStore

IMPORTED = """
import sys
import app.api
print(sorted({"torch", "ray", "optuna", "pandas"} & set(sys.modules)))
"""


def test_importing_it_loads_nothing_heavy() -> None:
    arguments = [sys.executable, "-c", IMPORTED]
    assert subprocess.run(arguments, capture_output=True, check=True).stdout == b"[]\n"


def test_a_run_is_read_from_its_folder(ended: Path) -> None:
    found = open_run("en", runs=ended.parent)
    assert (found.name, found.path, found.status) == ("ended", ended, RunStatus.COMPLETED)
    assert (found.reason, found.model) == ("the target is reached", None)
    best = found.best
    assert best is not None
    assert (best.trial_id, best.config, best.epochs, best.metrics["loss"]) == (
        "001",
        {"x": 0.1},
        2,
        0.25,
    )
    assert [trial.status for trial in found.trials] == [
        *(TrialStatus.COMPLETED, TrialStatus.FAILED, TrialStatus.STOPPED)
    ]
    assert found.logs(1) == "hello\n"
    assert repr(found) == "<Run ended: completed>"
    found.wait()


def test_trials_are_rows(ended: Path) -> None:
    frame = open_run("ended", runs=ended.parent).to_pandas()
    assert frame.columns.tolist() == [
        *("trial_id", "status", "config.x", "config.y", "metrics.loss", "metrics.accuracy"),
        *("seconds", "error"),
    ]
    assert frame["status"].tolist() == ["completed", "failed", "stopped"]
    assert frame["config.y"].isna().tolist() == [True, False, True]
    assert frame["metrics.loss"].fillna(0).tolist() == [0.25, 0, 0.75]
    assert frame["error"][1] == "too far out\n  at line 3"


def test_epochs_are_rows_with_the_time_of_training(ended: Path) -> None:
    frame = open_run("ended", runs=ended.parent).epochs_to_pandas()
    assert frame.drop(columns="metrics.accuracy").to_dict("list") == {
        "trial_id": ["001", "001", "003"],
        "epoch": [1, 2, 1],
        "metrics.loss": [0.5, 0.25, 0.75],
        "seconds": [1.5, 3.0, 1.5],
    }
    (ended / "journal.jsonl").unlink()
    frame = open_run("ended", runs=ended.parent).epochs_to_pandas()
    assert frame["seconds"].isna().all()


def test_runs_are_rows_whether_they_can_be_read_or_not(ended: Path) -> None:
    broken = ended.parent / "broken"
    broken.mkdir()
    (broken / "result.json").write_text("{")
    found = list_runs(runs=ended.parent)
    assert [each.name for each in found] == ["ended", "broken"]
    frame = found.to_pandas().set_index("name")
    assert frame.loc["ended", ["status", "best", "trial_id", "trials", "finished"]].tolist() == [
        *("completed", 0.25, "001", 3, 2)
    ]
    began = json.loads((ended / "result.json").read_text())["began"]
    assert frame.loc["ended", "began"] == datetime.fromisoformat(began)
    assert frame.loc["broken", "status"] == "unreadable"
    assert "cannot read" in str(frame.loc["broken", "error"])
    assert repr(found[1]) == "<Run broken>"
    assert list_runs(runs=ended.parent / "none").to_pandas().empty


def test_a_run_without_trials_has_empty_tables(ended: Path) -> None:
    result = json.loads((ended / "result.json").read_text())
    (ended / "result.json").write_text(json.dumps({**result, "trials": [], "best": None}))
    found = open_run("ended", runs=ended.parent)
    assert found.best is None
    assert found.to_pandas().columns.tolist() == ["trial_id", "status", "seconds", "error"]
    assert found.epochs_to_pandas().empty


def test_a_run_whose_process_is_gone_is_interrupted(ended: Path) -> None:
    result = json.loads((ended / "result.json").read_text())
    (ended / "result.json").write_text(json.dumps({**result, "status": "running"}))
    assert open_run("ended", runs=ended.parent).status == RunStatus.INTERRUPTED


def test_a_run_is_read_from_a_bucket(
    s3: ObjectStore, ended: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for file in ended.rglob("*"):
        if file.is_file():
            s3.write(f"opened/ended/{file.relative_to(ended)}", file.read_bytes())
    (found,) = list_runs(runs=s3.uri("opened"))
    assert found.epochs_to_pandas()["seconds"].tolist() == [1.5, 3.0, 1.5]
    assert open_run("e", runs=s3.uri("opened")).logs("001") == "hello\n"


def test_what_is_not_there_or_not_running_is_said(ended: Path) -> None:
    with pytest.raises(StoreError, match=r"^no run 'absent' in .*runs; there are ended$"):
        open_run("absent", runs=ended.parent)
    found = open_run("ended", runs=ended.parent)
    with pytest.raises(StoreError, match=r"^ended is not running: it is completed$"):
        found.stop()
    with pytest.raises(
        StoreError, match=r"^ended: there is no trial '9'; its trials: 001, 002, 003$"
    ):
        found.logs(9)
    no_model = r"^ended has no model: it is completed: the target is reached$"
    with pytest.raises(StoreError, match=no_model):
        found.serve()
    with pytest.raises(StoreError, match=no_model):
        found.serve(trial=1)


def test_a_run_that_cannot_begin_raises_the_commands_sentence(ended: Path) -> None:
    runs = ended.parent
    with pytest.raises(
        CommandError, match=r"^--name: there is a run 'ended' in .*; choose another"
    ):
        run(Experiment(), name="ended", runs=runs)
    with pytest.raises(CommandError, match=r"^no run 'absent' in .*runs; there are ended$"):
        run(Experiment(), runs=runs, warm_start="absent", wait=False)
    assert [path.name for path in runs.iterdir()] == ["ended"]


def test_a_trials_model_is_the_runs_own_or_one_that_was_exported_before(ended: Path) -> None:
    result = json.loads((ended / "result.json").read_text())
    (ended / "result.json").write_text(json.dumps({**result, "model": "model"}))
    for folder, trial_id in (("model", "001"), ("models/003", "003")):
        (ended / folder).mkdir(parents=True)
        (ended / folder / "model.json").write_text(json.dumps({"trial_id": trial_id}))
    found = open_run("ended", runs=ended.parent)
    assert found.model == found.model_of(1) == ended / "model"
    assert found.model_of("003") == ended / "models/003"
    with pytest.raises(StoreError, match=r"^ended has no model of trial 002: .* has no model\(\)"):
        found.model_of(2)


def test_what_was_searched_is_there_again(ended: Path) -> None:
    found = open_run("ended", runs=ended.parent)
    again = Experiment(**found.experiment.as_json())
    assert again.as_json() == found.experiment.as_json()
    assert found.trial(2).error == "too far out\n  at line 3"


def test_a_report_is_written_and_shown_in_a_notebook(ended: Path, tmp_path: Path) -> None:
    found = open_run("ended", runs=ended.parent)
    shown = found._repr_html_()
    assert shown is not None
    assert shown.startswith('<iframe srcdoc="&lt;!-- The report of a run')
    assert not (ended / "report.html").exists()
    report = found.report()
    assert report.path == ended / "report.html"
    assert report._repr_html_() == shown
    assert found.report(tmp_path / "own.html").path == tmp_path / "own.html"
    (ended / "result.json").write_text("{")
    (ended / "journal.jsonl").unlink()
    assert found._repr_html_() is None


def test_a_run_goes_on_by_the_command(ended: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = open_run("ended", runs=ended.parent)
    with pytest.raises(CommandError, match=r"^--resume ended: its epochs are 2 and "):
        found.resume(epochs=1)
    found.resume(num_samples=3)
    assert "ended is finished; ask for more by --num-samples or --epochs" in capsys.readouterr().out
    found.resume(num_samples=3, wait=False)
    found.wait()
