"""Runs on disk: found by name, read back, and what is wrong with them told."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from app.experiment import loading
from app.experiment.run_folder import JOURNAL
from app.run import store
from app.run.commands import resume_command, run_arguments
from app.run.journal import Journal
from app.run.layout import EXPERIMENT, STOP
from app.run.record import Record
from app.run.result_file import RESULT
from app.run.store import StoreError
from app.storage.files import replace_file
from tests.support.outcomes import outcome


def begin_run(runs: Path, name: str) -> Journal:
    """A run with one trial that is going on."""
    folder = runs / name
    folder.mkdir(parents=True)
    table = {**loading.load(None, {}).as_json(), "threads": 1}
    replace_file(folder / EXPERIMENT, json.dumps(table))
    journal = Journal(folder, Record(name, "average_test_loss", "min", seed=0))
    journal.append("run", versions={})
    journal.append("trial", trial_id="001", config={"lr": 0.01, "batch_size": 64}, leg=1)
    return journal


def test_a_run_is_found_by_its_name_or_how_it_begins(tmp_path: Path) -> None:
    for name in ("mnist-1", "mnist-10", "other"):
        begin_run(tmp_path, name).close()
    assert store.find(tmp_path, "oth").name == "other"
    assert store.find(tmp_path, "mnist-1").folder == tmp_path / "mnist-1"


def test_a_beginning_that_several_runs_share_lists_them(tmp_path: Path) -> None:
    for name in ("mnist-1", "mnist-2", "other"):
        begin_run(tmp_path, name).close()
    message = "^'mnist' could be mnist-1, mnist-2; type more of the name$"
    with pytest.raises(StoreError, match=message):
        store.find(tmp_path, "mnist")


@pytest.mark.parametrize("name", ["absent", "", "../mnist", "mnist/", "."])
def test_a_run_that_is_not_there_lists_those_that_are(tmp_path: Path, name: str) -> None:
    begin_run(tmp_path, "mnist").close()
    with pytest.raises(StoreError, match=r"^no run '.*' in /.*; there are mnist$"):
        store.find(tmp_path, name)


def test_of_many_runs_a_few_are_listed(tmp_path: Path) -> None:
    for number in range(7):
        begin_run(tmp_path, f"r{number}").close()
    with pytest.raises(StoreError, match=r"; there are r0, r1, r2, r3, r4, …$"):
        store.find(tmp_path, "x")


def test_a_folder_that_is_being_filled_is_no_run_yet(tmp_path: Path) -> None:
    begin_run(tmp_path, ".mnist.0123.partial").close()
    assert store.names(tmp_path) == []


def test_where_there_are_no_runs_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"^no run 'mnist' in .*/nowhere; there is none$"):
        store.find(tmp_path / "nowhere", "mnist")


def test_a_run_in_hand_is_running(tmp_path: Path) -> None:
    journal = begin_run(tmp_path, "mnist")
    run = store.find(tmp_path, "mnist")
    assert (run.result["status"], run.result["trials"][0]["status"]) == ("running", "running")
    journal.close()


def test_a_run_without_its_process_is_interrupted_and_so_are_its_trials(tmp_path: Path) -> None:
    begin_run(tmp_path, "mnist").close()
    run = store.find(tmp_path, "mnist")
    assert (run.result["status"], run.result["trials"][0]["status"]) == (
        "interrupted",
        "interrupted",
    )
    assert json.loads((run.folder / RESULT).read_text())["status"] == "running"


def test_a_run_that_ended_is_as_it_ended(tmp_path: Path) -> None:
    journal = begin_run(tmp_path, "mnist")
    journal.append("status", status="failed", reason="no")
    journal.close()
    run = store.find(tmp_path, "mnist")
    assert (run.result["status"], run.result["reason"]) == ("failed", "no")


@pytest.mark.parametrize("content", ["", "\0" * 3, "\0" * 10, '{"status": "comp'])
def test_a_result_that_was_lost_with_the_power_is_told_by_the_journal(
    tmp_path: Path, content: str
) -> None:
    begin_run(tmp_path, "mnist").close()
    before = store.find(tmp_path, "mnist").result
    (tmp_path / "mnist" / RESULT).write_text(content)
    assert store.find(tmp_path, "mnist").result == before
    (tmp_path / "mnist" / JOURNAL).write_text("no event\n")
    on = rf"keep what can be read by: python -m app.runs repair mnist --runs {tmp_path}$"
    with pytest.raises(
        StoreError, match=r"^cannot read .*/mnist/result\.json: .*line 1: .*; " + on
    ):
        store.find(tmp_path, "mnist")


@pytest.mark.parametrize("content", [None, "[]", "null", '{"status": "failed"}'])
def test_a_result_that_is_gone_or_not_whole_is_told_by_the_journal(
    tmp_path: Path, content: str | None
) -> None:
    begin_run(tmp_path, "mnist").close()
    before = store.find(tmp_path, "mnist").result
    (tmp_path / "mnist" / RESULT).unlink()
    if content is not None:
        (tmp_path / "mnist" / RESULT).write_text(content)
    assert store.exists(tmp_path / "mnist")
    assert store.find(tmp_path, "mnist").result == before


@pytest.mark.parametrize("content", ["[]", "null", '{"status": "failed"}'])
def test_a_result_that_cannot_be_read_is_named(tmp_path: Path, content: str) -> None:
    begin_run(tmp_path, "mnist").close()
    (tmp_path / "mnist" / RESULT).write_text(content)
    (tmp_path / "mnist" / JOURNAL).unlink()
    with pytest.raises(StoreError, match=r"^cannot read .*/mnist/result\.json: "):
        store.find(tmp_path, "mnist")


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(StoreError, match=r"/data is no run: it has no result\.json and no journal"):
        store.find(tmp_path, "data")


def test_a_folder_in_which_no_run_began_is_named(tmp_path: Path) -> None:
    assert not store.exists(tmp_path)
    with pytest.raises(StoreError, match=r" has no result\.json: its run never began$"):
        store.read(tmp_path)


def test_a_runs_experiment_is_the_one_that_it_began_with(tmp_path: Path) -> None:
    begin_run(tmp_path, "mnist").close()
    assert store.read_experiment(store.find(tmp_path, "mnist")) == loading.load(None, {})


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"threads": 1, "epochs": 0}'])
def test_an_experiment_that_cannot_be_read_is_named(tmp_path: Path, content: Any) -> None:
    begin_run(tmp_path, "mnist").close()
    path = tmp_path / "mnist" / EXPERIMENT
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(StoreError, match=r"^cannot read .*/mnist/experiment\.json: "):
        store.read_experiment(store.find(tmp_path, "mnist"))


@pytest.mark.parametrize("name", ["a/b", "../a", "", ".", "-a", "a b", "a\n", "é", "x" * 101])
def test_a_name_that_is_no_folders_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match=r"^--name: .* must be letters, digits, dots, dashes"):
        store.new_folder(tmp_path, name)


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    begin_run(tmp_path, "mnist").close()
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
        store.open_runs(str(file))
    with pytest.raises(StoreError, match=r"^--runs: cannot make .*/file/runs: Not a directory$"):
        store.new_folder(file / "runs", "mnist")


def test_a_relative_place_counts_from_where_it_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert store.open_runs("runs") == tmp_path / "runs"


def test_a_place_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"^--runs: cannot read .*/file: Not a directory$"):
        store.find(tmp_path / "file", "mnist")


def test_what_an_older_version_left_out_is_filled_in(tmp_path: Path) -> None:
    trial = {"trial_id": "001", "status": "completed"}
    best = {"trial_id": "001"}
    folder = outcome(tmp_path, status="completed", metric="loss", best=best, trials=[trial])
    result = store.read(folder).result
    assert (result["name"], result["mode"], result["reason"]) == ("mnist", "min", None)
    assert result["best"] == {**best, "config": {}, "epoch": None, "metrics": {}}
    (filled,) = result["trials"]
    assert (filled["epochs"], filled["history"], filled["error"]) == (0, [], None)


def test_what_only_a_newer_version_knows_is_left_as_it_is(tmp_path: Path) -> None:
    folder = outcome(tmp_path, status="completed", metric="loss", trials=[], moon="full")
    assert store.read(folder).result["moon"] == "full"


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"metric": 5}, "outcome.metric cannot be 5"),
        ({"status": None}, "outcome.status cannot be None"),
        ({"trials": {}}, "outcome.trials cannot be {}"),
        ({"trials": [5]}, r"trials[0] needs a table, got 5"),
        ({"trials": [{"status": "failed"}]}, r"trials[0] needs `trial_id`"),
        ({"trials": [{"trial_id": "001", "status": "failed", "seconds": "1"}]}, "cannot be '1'"),
        ({"best": {"trial_id": 1}}, "best.trial_id cannot be 1"),
        ({"seconds": float("nan")}, "outcome.seconds cannot be None"),
    ],
)
def test_what_no_version_would_write_is_named(
    tmp_path: Path, values: dict[str, Any], problem: str
) -> None:
    sound: dict[str, Any] = {"status": "completed", "metric": "loss", "trials": []}
    folder = outcome(tmp_path, **{**sound, **values})
    with pytest.raises(StoreError, match=rf"/mnist/result\.json: .*{re.escape(problem)}$"):
        store.read(folder)


def test_a_run_goes_by_the_name_of_its_folder(tmp_path: Path) -> None:
    begin_run(tmp_path, "mnist").close()
    (tmp_path / "mnist").rename(tmp_path / "kept")
    assert store.find(tmp_path, "kept").result["name"] == "kept"


def test_of_an_experiment_what_another_version_knows_is_ignored(tmp_path: Path) -> None:
    begin_run(tmp_path, "mnist").close()
    path = tmp_path / "mnist" / EXPERIMENT
    table = {**json.loads(path.read_text()), "moon": "full"}
    del table["threads"], table["early_stopping"]
    path.write_text(json.dumps(table))
    run = store.find(tmp_path, "mnist")
    assert store.read_experiment(run) == loading.load(None, {})
    assert store.read_table(run) == table


def test_what_only_another_version_knows_of_resources_is_passed_over_by_name(
    tmp_path: Path,
) -> None:
    begin_run(tmp_path, "mnist").close()
    path = tmp_path / "mnist" / EXPERIMENT
    table = json.loads(path.read_text())
    table["resources"] |= {"tpus_per_trial": 4, "placement": "pack"}
    path.write_text(json.dumps({**table, "moon": "full", "data": {}}))
    run = store.find(tmp_path, "mnist")
    assert store.read_experiment(run) == loading.load(None, {})
    assert store.unknown_keys(run) == ["moon", "resources.tpus_per_trial"]


@pytest.mark.parametrize("text", ["1", "01", "001"])
def test_a_trial_is_found_by_its_number(tmp_path: Path, text: str) -> None:
    begin_run(tmp_path, "mnist").close()
    assert store.find_trial(store.find(tmp_path, "mnist"), text) == "001"


@pytest.mark.parametrize("text", ["2", "1001", "100", "", "../001"])
def test_a_trial_that_is_not_there_lists_those_that_are(tmp_path: Path, text: str) -> None:
    begin_run(tmp_path, "mnist").close()
    with pytest.raises(StoreError, match=r"^mnist: there is no trial '.*'; its trials: 001$"):
        store.find_trial(store.find(tmp_path, "mnist"), text)


def test_a_run_in_hand_is_asked_to_stop_until_it_has_ended(tmp_path: Path) -> None:
    journal = begin_run(tmp_path, "mnist")
    run = store.find(tmp_path, "mnist")
    store.request_stop(run)
    assert (run.folder / STOP).is_file()
    journal.close()
    for _ in range(2):
        assert store.wait_for_end(run).result["status"] == "interrupted"
        assert not (run.folder / STOP).exists()


def test_a_run_in_nobodys_hand_is_not_asked_to_stop(tmp_path: Path) -> None:
    journal = begin_run(tmp_path, "mnist")
    run = store.find(tmp_path, "mnist")
    journal.close()
    with pytest.raises(StoreError, match=r"^mnist is not running: it is interrupted$"):
        store.request_stop(run)
    assert not (run.folder / STOP).exists()


def test_a_command_can_be_pasted_whatever_its_folder_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "my  runs" / "ü; rm $HOME"
    command = resume_command(runs / "mnist-1")
    assert shlex.split(command)[-4:] == ["--resume", "mnist-1", "--runs", str(runs)]
    words = shlex.split(command, posix=True)
    assert words[:3] == ["python", "-m", "app.tune"]
    monkeypatch.chdir(tmp_path)
    assert run_arguments(tmp_path / "runs/mnist-1") == "mnist-1"


def test_a_run_that_cannot_be_asked_to_stop_is_named(tmp_path: Path) -> None:
    journal = begin_run(tmp_path, "mnist")
    run = store.find(tmp_path, "mnist")
    (run.folder / STOP).symlink_to(tmp_path / "absent" / "stop")
    with pytest.raises(StoreError, match=r"^cannot write .*/mnist/stop: No such file"):
        store.request_stop(run)
    journal.close()
