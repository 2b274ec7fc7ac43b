"""`result.json`: the record, whole at any time, and how often it is replaced."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.run.journal import Journal
from tests.support.journals import VERSIONS, end, epoch, record, result, start

RESULT_KEYS = {
    *("name", "status", "reason", "metric", "mode", "seed"),
    *("seconds", "best", "trials", "lost_nodes", "model", "model_of", "model_error"),
    *("export_failed", "versions", "began"),
}
TRIAL_KEYS = {
    *("trial_id", "status", "config", "epochs"),
    *("metrics", "history", "seconds", "error", "restarts"),
}


def test_a_run_from_beginning_to_end(journal: Journal, tmp_path: Path) -> None:
    journal.append("run", versions=VERSIONS)
    start(journal, "001", x=1)
    epoch(journal, "001", 1, 0.5)
    start(journal, "002", x=2)
    epoch(journal, "002", 1, 0.4)
    epoch(journal, "001", 2, 0.6)
    end(journal, "001", "completed")
    end(journal, "002", "failed", "ValueError: no")
    journal.append("model", model="model")
    journal.append("status", status="completed", reason=None)

    found = result(tmp_path)
    assert found.pop("seconds") >= 0
    assert found.pop("began")
    history = [
        {"epoch": 1, "loss": 0.5, "accuracy": None},
        {"epoch": 2, "loss": 0.6, "accuracy": None},
    ]
    metrics = {"loss": 0.5, "accuracy": None}
    assert found == {
        "name": "r",
        "status": "completed",
        "reason": None,
        "metric": "loss",
        "mode": "min",
        "seed": 0,
        "best": {"trial_id": "001", "config": {"x": 1}, "epoch": 1, "metrics": metrics},
        "trials": [
            {
                "trial_id": "001",
                "status": "completed",
                "config": {"x": 1},
                "epochs": 2,
                "metrics": metrics,
                "history": history,
                "seconds": 3.0,
                "error": None,
                "restarts": 0,
            },
            {
                "trial_id": "002",
                "status": "failed",
                "config": {"x": 2},
                "epochs": 1,
                "metrics": {"loss": 0.4, "accuracy": None},
                "history": [{"epoch": 1, "loss": 0.4, "accuracy": None}],
                "seconds": 1.5,
                "error": "ValueError: no",
                "restarts": 0,
            },
        ],
        "lost_nodes": {},
        "model": "model",
        "model_of": None,
        "model_error": None,
        "export_failed": False,
        "versions": VERSIONS,
    }


def test_a_run_that_just_began_has_every_key(journal: Journal, tmp_path: Path) -> None:
    journal.append("run", versions=VERSIONS)
    start(journal, "001", x=1)
    found = result(tmp_path)
    assert found.keys() == RESULT_KEYS
    assert found["trials"][0].keys() == TRIAL_KEYS
    assert (found["status"], found["best"], found["model"]) == ("running", None, None)
    assert (found["trials"][0]["metrics"], found["trials"][0]["epochs"]) == ({}, 0)


LOSSES = st.lists(st.floats(-9, 9, width=16) | st.none(), max_size=4)
STATUSES = st.sampled_from(["running", "completed", "stopped", "failed"])


@settings(max_examples=30)
@given(st.lists(st.tuples(LOSSES, STATUSES), max_size=6), st.sampled_from(["min", "max"]))
def test_the_result_is_always_the_record_and_reads_back_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    trials: list[tuple[list[float | None], str]],
    mode: str,
) -> None:
    folder = tmp_path_factory.mktemp("run")
    journal = Journal(folder, record(mode))
    journal.append("run", versions=VERSIONS)
    for number, (losses, status) in enumerate(trials, 1):
        start(journal, f"{number:03d}", x=number)
        for done, loss in enumerate(losses, 1):
            epoch(journal, f"{number:03d}", done, loss)
            assert result(folder) == journal.record.as_json()
        if status != "running":
            end(journal, f"{number:03d}", status)
        assert result(folder) == journal.record.as_json()

    finite = [
        loss
        for losses, status in trials
        if status != "failed"
        for loss in losses
        if loss is not None
    ]
    best = result(folder)["best"]
    assert (best["metrics"]["loss"] if best else None) == (
        (min if mode == "min" else max)(finite) if finite else None
    )
    before = journal.record.as_json()
    journal.reload()
    journal.close()
    assert {**journal.record.as_json(), "seconds": 0} == {**before, "seconds": 0}


def test_trials_are_shown_in_the_order_of_their_numbers(journal: Journal, tmp_path: Path) -> None:
    for trial_id in ("1000", "002", "999"):
        start(journal, trial_id)
    assert [trial["trial_id"] for trial in result(tmp_path)["trials"]] == ["002", "999", "1000"]


def test_a_trial_that_is_told_of_after_later_ones_have_finished_is_shown_in_its_place(
    journal: Journal, tmp_path: Path
) -> None:
    for trial_id in ("002", "001", "003"):
        start(journal, trial_id)
        epoch(journal, trial_id, 1, 1 / int(trial_id))
        end(journal, trial_id, "completed")
    shown = result(tmp_path)
    assert [trial["trial_id"] for trial in shown["trials"]] == ["001", "002", "003"]
    assert shown["best"]["trial_id"] == "003"


def test_a_long_result_takes_its_share_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, record())
    journal.append("run", versions=VERSIONS)
    start(journal, "001")
    monkeypatch.setattr("app.run.result_file.SMALL_BYTES", 0)
    monkeypatch.setattr("app.run.result_file.MIN_INTERVAL_S", 0)
    monkeypatch.setattr("app.run.result_file.TIME_SHARE", 1e-9)
    for number in range(1, 4):
        epoch(journal, "001", number, 1 / number)
    assert result(tmp_path)["trials"][0]["epochs"] == 0
    monkeypatch.setattr("app.run.result_file.TIME_SHARE", 1e9)
    journal.check()
    assert result(tmp_path) == journal.record.as_json()
    monkeypatch.setattr("app.run.result_file.TIME_SHARE", 1e-9)
    epoch(journal, "001", 4, 0.1)
    journal.check()
    assert result(tmp_path)["trials"][0]["epochs"] == 3
    journal.append("status", status="completed", reason=None)
    assert result(tmp_path) == journal.record.as_json()
    epoch(journal, "001", 5, 0.1)
    journal.close()
    assert result(tmp_path) == journal.record.as_json()
