"""Runs on disk: found by name, read back, and what is wrong with them told."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from app import experiment, store
from app.journal import JOURNAL, RESULT, Journal, Record, write_whole
from app.store import StoreError


def began(runs: Path, name: str, *, at: float = 0.0) -> Journal:
    """A run with one trial that is going on, begun at that time."""
    folder = runs / name
    folder.mkdir(parents=True)
    table = {**experiment.load(None, {}).as_json(), "threads": 1}
    write_whole(folder / store.EXPERIMENT, json.dumps(table))
    os.utime(folder / store.EXPERIMENT, (at, at))
    journal = Journal(folder, Record(name, "average_test_loss", "min", seed=0))
    journal.append("run", versions={})
    journal.append("trial", trial_id="001", config={"lr": 0.01, "batch_size": 64}, leg=1)
    return journal


def test_a_run_is_found_by_its_name_or_how_it_begins(tmp_path: Path) -> None:
    for name in ("mnist-1", "mnist-10", "other"):
        began(tmp_path, name).close()
    assert store.find(tmp_path, "oth").name == "other"
    assert store.find(tmp_path, "mnist-1").folder == tmp_path / "mnist-1"


def test_a_beginning_that_several_runs_share_lists_them(tmp_path: Path) -> None:
    for name in ("mnist-1", "mnist-2", "other"):
        began(tmp_path, name).close()
    message = "^'mnist' could be mnist-1, mnist-2; type more of the name$"
    with pytest.raises(StoreError, match=message):
        store.find(tmp_path, "mnist")


@pytest.mark.parametrize("name", ["absent", "", "../mnist", "mnist/", "."])
def test_a_run_that_is_not_there_lists_those_that_are(tmp_path: Path, name: str) -> None:
    began(tmp_path, "mnist").close()
    with pytest.raises(StoreError, match=r"^no run '.*' in /.*; there are mnist$"):
        store.find(tmp_path, name)


def test_of_many_runs_a_few_are_listed(tmp_path: Path) -> None:
    for number in range(7):
        began(tmp_path, f"r{number}").close()
    with pytest.raises(StoreError, match=r"; there are r0, r1, r2, r3, r4, …$"):
        store.find(tmp_path, "x")


def test_where_there_are_no_runs_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"^no run 'mnist' in .*/nowhere; there is none$"):
        store.find(tmp_path / "nowhere", "mnist")
    assert store.all_runs(tmp_path / "nowhere") == []


def test_the_newest_run_is_first(tmp_path: Path) -> None:
    for name, at in (("b", 20.0), ("a", 30.0), ("c", 10.0)):
        began(tmp_path, name, at=at).close()
    assert [run.name for run in store.all_runs(tmp_path)] == ["a", "b", "c"]


def test_a_run_that_only_begins_to_exist_is_not_listed(tmp_path: Path) -> None:
    began(tmp_path, "mnist").close()
    (tmp_path / "empty").mkdir()
    (tmp_path / "beginning").mkdir()
    (tmp_path / "beginning" / JOURNAL).touch()
    (tmp_path / "notes.txt").touch()
    assert [run.name for run in store.all_runs(tmp_path)] == ["mnist"]


def test_a_run_in_hand_is_running(tmp_path: Path) -> None:
    journal = began(tmp_path, "mnist")
    run = store.find(tmp_path, "mnist")
    assert (run.result["status"], run.result["trials"][0]["status"]) == ("running", "running")
    journal.close()


def test_a_run_without_its_process_is_interrupted_and_so_are_its_trials(tmp_path: Path) -> None:
    began(tmp_path, "mnist").close()
    run = store.find(tmp_path, "mnist")
    assert (run.result["status"], run.result["trials"][0]["status"]) == (
        "interrupted",
        "interrupted",
    )
    assert json.loads((run.folder / RESULT).read_text())["status"] == "running"


def test_a_run_that_ended_is_as_it_ended(tmp_path: Path) -> None:
    journal = began(tmp_path, "mnist")
    journal.append("status", status="failed", reason="no")
    journal.close()
    run = store.find(tmp_path, "mnist")
    assert (run.result["status"], run.result["reason"]) == ("failed", "no")


@pytest.mark.parametrize("content", ["", '{"status": "comp', "[]", "null", '{"status": "failed"}'])
def test_a_result_that_cannot_be_read_is_named(tmp_path: Path, content: str) -> None:
    began(tmp_path, "mnist").close()
    (tmp_path / "mnist" / RESULT).write_text(content)
    with pytest.raises(StoreError, match=r"^cannot read .*/mnist/result\.json: "):
        store.find(tmp_path, "mnist")


def test_a_folder_in_which_no_run_began_is_named(tmp_path: Path) -> None:
    assert not store.exists(tmp_path)
    with pytest.raises(StoreError, match=r" has no result\.json: its run never began$"):
        store.read(tmp_path)


def test_a_runs_experiment_is_the_one_that_it_began_with(tmp_path: Path) -> None:
    began(tmp_path, "mnist").close()
    assert store.experiment(store.find(tmp_path, "mnist")) == experiment.load(None, {})


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"threads": 1, "epochs": 0}'])
def test_an_experiment_that_cannot_be_read_is_named(tmp_path: Path, content: Any) -> None:
    began(tmp_path, "mnist").close()
    path = tmp_path / "mnist" / store.EXPERIMENT
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(StoreError, match=r"^cannot read .*/mnist/experiment\.json: "):
        store.experiment(store.find(tmp_path, "mnist"))


@pytest.mark.parametrize("name", ["a/b", "../a", "", ".", "-a", "a b", "a\n", "é", "x" * 101])
def test_a_name_that_is_no_folders_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match=r"^--name: .* must be letters, digits, dots, dashes"):
        store.new_folder(tmp_path, name)


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    began(tmp_path, "mnist").close()
    message = "^--name: there is a run 'mnist' in .*; choose another name, or .* --resume mnist$"
    with pytest.raises(StoreError, match=message):
        store.new_folder(tmp_path, "mnist")


def test_a_new_run_is_not_made_before_it_begins(tmp_path: Path) -> None:
    runs = tmp_path / "deep" / "runs"
    assert store.new_folder(runs, "a.b_c-1") == runs / "a.b_c-1"
    assert list(runs.iterdir()) == []


def test_a_place_for_runs_that_is_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(StoreError, match=r"^--runs: .*/file is a file; choose a folder$"):
        store.place(str(file))
    with pytest.raises(StoreError, match=r"^--runs: cannot make .*/file/runs: Not a directory$"):
        store.new_folder(file / "runs", "mnist")


def test_a_relative_place_counts_from_where_it_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert store.place("runs") == tmp_path / "runs"
