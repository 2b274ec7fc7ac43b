"""Runs side by side: what differs, who did better, and what is printed of it, whole."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from app import runs
from app.experiment import loading
from app.run import comparison, store
from app.run.journal import Journal
from app.run.layout import EXPERIMENT
from app.run.record import Record
from app.run.result_file import RESULT
from app.run.store import Run, StoreError
from app.storage.files import replace_file


def complete_run(place: Path, name: str, values: Sequence[float], **changes: Any) -> Run:
    """A run of the built-in experiment with changes, completed, with a trial for each value."""
    folder = place / name
    folder.mkdir()
    table = {**loading.load(None, {}).as_json(), "threads": 1, **changes}
    replace_file(folder / EXPERIMENT, json.dumps(table))
    metric = table["metric"]
    journal = Journal(folder, Record(name, metric, table["mode"], table["seed"]))
    journal.append("run", versions={"ray": "2"})
    for number, value in enumerate(values, 1):
        told = {"trial_id": f"{number:03d}"}
        journal.append("trial", **told, config={"lr": number / 100}, leg=1)
        checkpoint = {"seconds": 1.0, "checkpoint": None}
        journal.append("epoch", **told, epoch=1, metrics={metric: value}, **checkpoint)
        journal.append("end", **told, status="completed", error=None)
    journal.append("status", status="completed", reason=None)
    journal.close()
    change(folder / RESULT, seconds=61.0)
    return store.read(folder)


def change(path: Path, *, without: Sequence[str] = (), **values: Any) -> None:
    table = {**json.loads(path.read_text()), **values}
    replace_file(path, json.dumps({k: v for k, v in table.items() if k not in without}))


def space(**changes: Any) -> Mapping[str, Any]:
    built_in = loading.load(None, {}).as_json()["space"]
    return {**built_in, "lr": {**built_in["lr"], **changes}}


def test_outcomes_and_differences_are_printed_side_by_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    complete_run(tmp_path, "a", [0.5, 0.25])
    complete_run(tmp_path, "b", [0.125], search="random", seed=1, space=space(high=0.100001))
    runs.main(["compare", "a", "b", "--runs", str(tmp_path)])
    assert capsys.readouterr() == (
        "run            a                       b\n"
        "status         completed               completed\n"
        "trials         2 of 2                  1 of 1\n"
        "epochs         2                       1\n"
        "time           1 min 1 s               1 min 1 s\n"
        "best           average_test_loss 0.25  average_test_loss 0.125\n"
        "rank           2                       1\n"
        "trial          002                     001\n"
        "configuration  lr=0.02                 lr=0.01\n"
        "\n"
        "seed           0                       1\n"
        "search         bayesian                random\n"
        "space.lr.high  0.1                     0.100001\n",
        "",
    )


def test_as_json_it_is_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    complete_run(tmp_path, "a", [0.5, 0.25])
    complete_run(tmp_path, "b", [0.125], fixed={"momentum": 0.5, "rounds": [1, 2]})
    runs.main(["compare", "a", "b", "--json", "--runs", str(tmp_path)])
    compared = json.loads(capsys.readouterr().out)
    assert compared.keys() == {"runs", "differences"}
    assert compared["differences"] == {"fixed.rounds": [None, [1, 2]]}
    assert compared["runs"][1].pop("began")
    assert compared["runs"][1] == {
        "name": "b",
        "status": "completed",
        "reason": None,
        "metric": "average_test_loss",
        "mode": "min",
        "seed": 0,
        "seconds": 61.0,
        "best": {
            "trial_id": "001",
            "config": {"lr": 0.01},
            "epoch": 1,
            "metrics": {"average_test_loss": 0.125},
        },
        "model": None,
        "model_of": None,
        "model_error": None,
        "export_failed": False,
        "trials": 1,
        "finished": 1,
        "epochs": 1,
        "rank": 1,
    }


def test_of_the_same_experiment_nothing_differs(tmp_path: Path) -> None:
    compared = comparison.compare(
        [complete_run(tmp_path, "a", [0.5]), complete_run(tmp_path, "b", [0.5])]
    )
    assert compared["differences"] == {}
    assert list(comparison.remarks(compared)) == ["nothing differs between their experiments"]


@pytest.mark.parametrize(("mode", "ranks"), [("min", [3, 1, 1, None]), ("max", [1, 2, 2, None])])
def test_the_best_is_first_equals_share_a_rank_and_nothing_has_none(
    tmp_path: Path, mode: str, ranks: list[int | None]
) -> None:
    values: list[list[float]] = [[0.5], [0.25], [0.25], []]
    runs_of_modes = [
        complete_run(tmp_path, name, some, mode=mode)
        for name, some in zip("abcd", values, strict=True)
    ]
    compared = comparison.compare(runs_of_modes)
    assert [run["rank"] for run in compared["runs"]] == ranks


def test_runs_with_different_objectives_are_shown_and_not_ranked(tmp_path: Path) -> None:
    a, b = (
        complete_run(tmp_path, "a", [0.5]),
        complete_run(tmp_path, "b", [0.9], metric="accuracy", mode="max"),
    )
    compared = comparison.compare([a, b])
    assert compared["differences"] == {
        "metric": ["average_test_loss", "accuracy"],
        "mode": ["min", "max"],
    }
    assert list(comparison.remarks(compared)) == [
        "they are not ranked, as their objectives differ: a min average_test_loss, b max accuracy"
    ]
    lines = list(comparison.cells(compared))
    assert ("best", "average_test_loss 0.5", "accuracy 0.9") in lines
    assert ("rank", "", "") in lines


def test_what_it_ran_with_is_compared_as_well(tmp_path: Path) -> None:
    for name, version, data in (("a", "2.60", "ab"), ("b", "2.61", "cd")):
        folder = complete_run(tmp_path, name, [], data={"train": data}).folder
        change(folder / RESULT, versions={"ray": version})
    compared = comparison.compare([store.find(tmp_path, name) for name in "ab"])
    assert compared["differences"] == {"data.train": ["ab", "cd"], "versions.ray": ["2.60", "2.61"]}


def test_what_an_older_version_did_not_write_is_what_it_did(tmp_path: Path) -> None:
    old, new = complete_run(tmp_path, "old", []), complete_run(tmp_path, "new", [])
    change(old.folder / EXPERIMENT, without=["early_stopping", "max_concurrent", "download"])
    assert comparison.compare([old, new])["differences"] == {}


def test_what_only_a_newer_version_knows_is_shown(tmp_path: Path) -> None:
    new = complete_run(tmp_path, "new", [], phase={"moon": "full"})
    compared = comparison.compare([complete_run(tmp_path, "old", []), new])
    assert compared["differences"] == {"phase.moon": [None, "full"]}
    assert ("phase.moon", "", "full") in comparison.cells(compared)


def test_a_run_whose_experiment_cannot_be_read_is_named(tmp_path: Path) -> None:
    a, b = complete_run(tmp_path, "a", []), complete_run(tmp_path, "b", [])
    (b.folder / EXPERIMENT).write_text("{")
    with pytest.raises(StoreError, match=r"^cannot read .*/b/experiment\.json: "):
        comparison.compare([a, b])
