"""The command that reads runs: what it prints, whole, and what it refuses."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app import runs
from app.journal import RESULT, Journal, Record
from app.store import EXPERIMENT


@pytest.fixture
def place(tmp_path: Path) -> str:
    """A run that was interrupted, with a trial of every kind, exported."""
    folder = tmp_path / "mnist-1"
    folder.mkdir()
    (folder / EXPERIMENT).touch()
    journal = Journal(folder, Record("mnist-1", "loss", "min", seed=0))
    journal.append("run", versions={"ray": "2"})
    values: list[tuple[dict[str, Any], str, str | None]] = [
        ({"lr": 0.0123456, "batch_size": 64}, "completed", None),
        ({"lr": 0.1, "batch_size": 512}, "failed", "ValueError: too far\nTraceback …"),
        ({"lr": 0.001, "batch_size": 32}, "", None),
    ]
    for number, (config, status, error) in enumerate(values, 1):
        told = {"trial_id": f"{number:03d}"}
        journal.append("trial", **told, config=config, leg=1)
        if status != "failed":
            metrics = {"loss": number / 8, "accuracy": None}
            checkpoint = {"seconds": 61.25, "checkpoint": None}
            journal.append("epoch", **told, epoch=1, metrics=metrics, **checkpoint)
        if status:
            journal.append("end", **told, status=status, error=error)
    journal.append("model", model="model")
    journal.append("status", status="interrupted", reason="SIGINT")
    journal.close()
    # How long the making of this took is no part of it.
    outcome = json.loads((folder / RESULT).read_text())
    (folder / RESULT).write_text(json.dumps({**outcome, "seconds": 125.4}))
    return str(tmp_path)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    runs.main(arguments)
    streams = capsys.readouterr()
    assert streams.err == ""
    return streams.out


def test_list_has_a_line_for_each_run(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "list", "--runs", place) == (
        "run      status       trials  best        trial                           model\n"
        "mnist-1  interrupted  1 of 3  loss 0.125  001  lr=0.01235  batch_size=64  model\n"
    )


def test_list_of_no_runs_is_its_heading(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "list", "--runs", str(tmp_path)) == (
        "run  status  trials  best  trial  model\n"
    )
    assert json.loads(printed(capsys, "list", "--runs", str(tmp_path), "--json")) == []


def test_list_as_json_has_each_outcome_without_its_trials(
    place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert json.loads(printed(capsys, "list", "--runs", place, "--json")) == [
        {
            "name": "mnist-1",
            "status": "interrupted",
            "reason": "SIGINT",
            "metric": "loss",
            "mode": "min",
            "seed": 0,
            "seconds": 125.4,
            "best": {
                "trial_id": "001",
                "config": {"lr": 0.0123456, "batch_size": 64},
                "epoch": 1,
                "metrics": {"loss": 0.125, "accuracy": None},
            },
            "model": "model",
            "trials": 3,
            "finished": 1,
        }
    ]


def test_show_has_a_line_for_each_trial(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "show", "mnist", "--runs", place) == (
        "mnist-1: interrupted (SIGINT) after 2 min 5 s\n"
        "trial  status       configuration              epochs  loss   seconds\n"
        "001 *  completed    lr=0.01235  batch_size=64  1       0.125  61.2\n"
        "002    failed       lr=0.1  batch_size=512     0              0.0\n"
        "003    interrupted  lr=0.001  batch_size=32    1       0.375  61.2\n"
        "trial 002: ValueError: too far\n"
        f"model: {place}/mnist-1/model\n"
    )


def test_show_as_json_is_the_whole_result(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = json.loads(Path(place, "mnist-1", RESULT).read_text())
    assert json.loads(printed(capsys, "show", "mnist-1", "--runs", place, "--json")) == result


def test_a_run_whose_process_was_lost_is_shown_as_interrupted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lost").mkdir()
    journal = Journal(tmp_path / "lost", Record("lost", "loss", "min", seed=0))
    journal.append("run", versions={})
    journal.append("trial", trial_id="001", config={"x": 1}, leg=1)
    journal.close()
    shown = json.loads(printed(capsys, "show", "lost", "--runs", str(tmp_path), "--json"))
    assert (shown["status"], shown["trials"][0]["status"]) == ("interrupted", "interrupted")
    (listed,) = json.loads(printed(capsys, "list", "--runs", str(tmp_path), "--json"))
    assert (listed["status"], listed["best"], listed["finished"]) == ("interrupted", None, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("show absent --runs {place}", "no run 'absent' in {place}; there are mnist-1"),
        ("export absent --runs {place}", "no run 'absent' in {place}; there are mnist-1"),
        (
            "list --runs {place}/mnist-1/result.json",
            "--runs: {place}/mnist-1/result.json is a file; choose a folder",
        ),
    ],
)
def test_a_known_mistake_is_one_line_and_status_1(place: str, arguments: str, message: str) -> None:
    command = [sys.executable, "-m", "app.runs", *arguments.format(place=place).split()]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"error: {message.format(place=place)}\n"


@pytest.mark.parametrize("arguments", [(), ("dance",), ("show",), ("list", "--best")])
def test_a_wrong_flag_or_a_missing_argument_is_status_2(arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        runs.main(arguments)
    assert ended.value.code == 2


IMPORTED = """
import sys
from app import runs
runs.main(sys.argv[1:])
print(*{name.partition(".")[0] for name in sys.modules} & {"torch", "ray", "optuna"})
"""


def test_reading_runs_imports_neither_torch_nor_ray_nor_optuna(place: str) -> None:
    for command in (("list",), ("show", "mnist")):
        arguments = [sys.executable, "-c", IMPORTED, *command, "--runs", place]
        ended = subprocess.run(arguments, capture_output=True, text=True, check=True)
        assert ended.stdout.splitlines()[-1] == ""
