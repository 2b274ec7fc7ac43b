"""The command that reads runs: what it prints, whole, and what it refuses."""

import io
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app import runs
from app.experiment import loading
from app.run import trial_output
from app.run.journal import Journal
from app.run.layout import EXPERIMENT, STOP
from app.run.record import Record
from app.run.result_file import RESULT
from tests.support.journals import begin_journal


@pytest.fixture
def place(tmp_path: Path) -> str:
    """A run that was interrupted, with a trial of every kind, exported."""
    folder = tmp_path / "mnist-1"
    folder.mkdir()
    table = {**loading.load(None, {"metric": "loss"}).as_json(), "threads": 1}
    (folder / EXPERIMENT).write_text(json.dumps(table))
    begin_journal(folder, BEGAN.timestamp())
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


def output_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    runs.main(arguments)
    streams = capsys.readouterr()
    assert streams.err == ""
    return streams.out


LISTED = (
    "run      status       began             took       trials  best        trial"
    "                           model\n"
    "mnist-1  interrupted  2026-11-30 23:45  2 min 5 s  1 of 3  loss 0.125  001"
    "  lr=0.01235  batch_size=64  model\n"
)
BEGAN = datetime(2026, 11, 30, 23, 45).astimezone()


def test_list_has_a_line_for_each_run(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert output_of(capsys, "list", "--runs", place) == LISTED


def test_what_a_run_says_of_itself_moves_no_cursor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = "\x1b[2J\nü"
    (tmp_path / "mnist").mkdir()
    trial = {"trial_id": "001", "status": "failed", "config": {"kind": hostile}, "error": hostile}
    outcome = {"status": "failed", "metric": "loss", "reason": hostile, "trials": [trial]}
    (tmp_path / "mnist" / RESULT).write_text(json.dumps(outcome))
    assert output_of(capsys, "show", "mnist", "--runs", str(tmp_path)).splitlines() == [
        r"mnist: failed (\x1b[2J\nü) after 0 s",
        "trial  status  configuration    epochs  loss  seconds",
        r"001    failed  kind=\x1b[2J\nü  0             0.0",
        r"trial 001: \x1b[2J",
        r"1 of 1 trial failed: \x1b[2J",
    ]


def test_a_log_is_shown_to_a_terminal_line_by_line() -> None:
    parts = ["10 %\r", "20 %\r", "\ndone \x1b[1mwell\x1b[0m", "\x07\r"]
    assert (
        "".join(trial_output.for_terminal(parts)) == "10 %\n20 %\ndone \\x1b[1mwell\\x1b[0m\\x07\n"
    )


def test_list_of_no_runs_is_its_heading(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert output_of(capsys, "list", "--runs", str(tmp_path)) == (
        "run  status  began  took  trials  best  trial  model\n"
    )
    assert json.loads(output_of(capsys, "list", "--runs", str(tmp_path), "--json")) == []


def test_a_run_that_cannot_be_read_is_a_line_among_the_others(
    place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    torn = Path(place, "torn")
    torn.mkdir()
    (torn / RESULT).write_text('{"status": "comp')
    assert output_of(capsys, "list", "--runs", place) == f"{LISTED}torn     unreadable\n"
    listed = json.loads(output_of(capsys, "list", "--runs", place, "--json"))
    assert (listed[0]["name"], listed[0]["status"]) == ("mnist-1", "interrupted")
    assert listed[1].pop("error").startswith(f"cannot read {torn / RESULT}: ")
    unknown = {"began": None, "experiment": None}
    assert listed[1] == {"name": "torn", "status": "unreadable", **unknown}


def test_a_run_of_an_older_version_is_listed_and_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trial = {"trial_id": "001", "status": "completed"}
    outcome = {"status": "completed", "metric": "loss", "best": trial, "trials": [trial]}
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / RESULT).write_text(json.dumps(outcome))
    assert output_of(capsys, "list", "--runs", str(tmp_path)) == (
        "run  status     began  took  trials  best  trial  model\n"
        "old  completed         0 s   1 of 1        001\n"
    )
    assert output_of(capsys, "show", "old", "--runs", str(tmp_path)) == (
        "old: completed after 0 s\n"
        "trial  status     configuration  epochs  loss  seconds\n"
        "001 *  completed                 0             0.0\n"
    )


def test_list_as_json_has_each_outcome_without_its_trials(
    place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert json.loads(output_of(capsys, "list", "--runs", place, "--json")) == [
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
            "model_of": None,
            "model_error": None,
            "export_failed": False,
            "trials": 3,
            "finished": 1,
            "began": BEGAN.astimezone(UTC).isoformat(timespec="milliseconds"),
            "experiment": "mnist",
        }
    ]


def test_show_has_a_line_for_each_trial(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert output_of(capsys, "show", "mnist", "--runs", place) == (
        "mnist-1: interrupted (SIGINT) after 2 min 5 s\n"
        "trial  status       configuration              epochs  loss   seconds\n"
        "001 *  completed    lr=0.01235  batch_size=64  1       0.125  61.2\n"
        "002    failed       lr=0.1  batch_size=512     0              0.0\n"
        "003    interrupted  lr=0.001  batch_size=32    1       0.375  61.2\n"
        "trial 002: ValueError: too far\n"
        "1 of 3 trials failed: ValueError (lr 0.1, batch_size 512)\n"
        f"model: {place}/mnist-1/model\n"
    )


def test_repeats_are_shown_with_their_seeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "q").mkdir()
    journal = Journal(tmp_path / "q", Record("q", "loss", "min", seed=3))
    journal.append("run", versions={})
    for seed in (3, 4):
        journal.append("trial", trial_id=f"00{seed - 2}", config={"lr": 0.1}, leg=1, seed=seed)
    journal.close()
    lines = output_of(capsys, "show", "q", "--runs", str(tmp_path)).splitlines()
    assert [line.split()[2:4] for line in lines[2:4]] == [["lr=0.1", f"seed={n}"] for n in (3, 4)]
    result = json.loads((tmp_path / "q" / RESULT).read_text())
    assert [trial["seed"] for trial in result["trials"]] == [3, 4]


def test_list_is_filtered_and_sorted(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    def listed(*flags: str) -> list[str]:
        rows = json.loads(output_of(capsys, "list", "--runs", place, "--json", *flags))
        return [row["name"] for row in rows]

    assert listed("--status", "interrupted", "--experiment", "mnist") == ["mnist-1"]
    assert listed("--status", "completed") == listed("--experiment", "other") == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            "list --status x",
            "--status: unknown 'x'; choose from running, completed, stopped, inter",
        ),
        ("list --status compleet", "--status: unknown 'compleet'; did you mean 'completed'?"),
        ("list --sort x", "--sort: unknown 'x'; choose from began, name, seconds, best"),
        ("watch --port x", "--port: needs a number from 0 to 65535, got 'x'"),
    ],
)
def test_a_bad_value_of_a_flag_is_one_sentence(flags: str, message: str) -> None:
    with pytest.raises(SystemExit) as ended:
        runs.main(flags.split())
    assert str(ended.value.code).startswith(f"error: {message}")


def test_show_has_other_metrics_and_epochs(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = output_of(capsys, "show", "mnist", "--runs", place, "--metric", "accuracy")
    assert shown.splitlines()[1].split() == [
        *("trial", "status", "configuration", "epochs", "loss", "accuracy", "seconds")
    ]
    assert output_of(capsys, "show", "mnist", "--runs", place, "--epochs") == (
        "trial  epoch  loss   accuracy\n001    1      0.125\n003    1      0.375\n"
    )


def test_show_as_csv_has_a_row_for_each_trial_or_epoch(
    place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert output_of(capsys, "show", "mnist", "--runs", place, "--csv", "--metric", "loss") == (
        "trial_id,status,config.lr,config.batch_size,epochs,metrics.loss,seconds,error\n"
        "001,completed,0.0123456,64,1,0.125,61.25,\n"
        '002,failed,0.1,512,0,,0.0,"ValueError: too far\nTraceback …"\n'
        "003,interrupted,0.001,32,1,0.375,61.25,\n"
    )
    assert output_of(capsys, "show", "mnist", "--runs", place, "--csv", "--epochs") == (
        "trial_id,config.lr,config.batch_size,epoch,metrics.loss,metrics.accuracy\n"
        "001,0.0123456,64,1,0.125,\n003,0.001,32,1,0.375,\n"
    )


class Answer(io.StringIO):
    """A terminal on which somebody types."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "is_left"), [("y\n", False), ("n\n", True), ("", True)])
def test_delete_says_what_goes_and_asks(
    place: str,
    answer: str,
    is_left: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", Answer(answer))
    runs.main(["delete", "mnist-1", "--runs", place])
    streams = capsys.readouterr()
    assert re.fullmatch(
        r"run      frees   contents\nmnist-1  \d\.\d KB  3 trials, its model\n"
        r"delete this and free \d\.\d KB\? \[y/N\] (nothing was removed\n)?",
        streams.err,
    )
    assert Path(place, "mnist-1").exists() == is_left
    assert bool(streams.out) != is_left


def test_scripts_confirm_by_a_flag(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    deleted = output_of(capsys, "delete", "mnist-1", "--yes", "--runs", place)
    assert re.fullmatch(r"mnist-1: freed \d\.\d KB \(3 trials, its model\)\n", deleted)
    runs.main(["prune", "--yes", "--runs", place])
    assert capsys.readouterr() == ("", "there is nothing to prune\n")


def test_show_as_json_is_the_whole_result(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = json.loads(Path(place, "mnist-1", RESULT).read_text())
    assert json.loads(output_of(capsys, "show", "mnist-1", "--runs", place, "--json")) == result


def test_a_run_whose_process_was_lost_is_shown_as_interrupted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lost").mkdir()
    journal = Journal(tmp_path / "lost", Record("lost", "loss", "min", seed=0))
    journal.append("run", versions={})
    journal.append("trial", trial_id="001", config={"x": 1}, leg=1)
    journal.close()
    shown = json.loads(output_of(capsys, "show", "lost", "--runs", str(tmp_path), "--json"))
    assert (shown["status"], shown["trials"][0]["status"]) == ("interrupted", "interrupted")
    (listed,) = json.loads(output_of(capsys, "list", "--runs", str(tmp_path), "--json"))
    assert (listed["status"], listed["best"], listed["finished"]) == ("interrupted", None, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("show absent --runs {place}", "no run 'absent' in {place}; there are mnist-1"),
        ("export absent --runs {place}", "no run 'absent' in {place}; there are mnist-1"),
        ("compare mnist absent --runs {place}", "no run 'absent' in {place}; there are mnist-1"),
        (
            "logs mnist 4 --runs {place}",
            "mnist-1: there is no trial '4'; its trials: 001, 002, 003",
        ),
        (
            "show mnist --metric f1 --runs {place}",
            "--metric: no trial of mnist-1 reported 'f1'; reported: loss, accuracy",
        ),
        (
            "delete mnist --runs {place}",
            "no run is called 'mnist' in {place}; delete takes whole names: mnist-1",
        ),
        (
            "prune mnist --runs {place}",
            "mnist-1 is interrupted: it needs its checkpoints to go on",
        ),
        ("stop mnist --runs {place}", "mnist-1 is not running: it is interrupted"),
        (
            "list --runs {place}/mnist-1/result.json",
            "--runs: {place}/mnist-1/result.json is a file; choose a folder",
        ),
    ],
)
def test_a_known_mistake_is_one_line(
    place: str, arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        runs.main(arguments.format(place=place).split())
    assert ended.value.code == f"error: {message.format(place=place)}"
    assert capsys.readouterr().out == ""


def test_a_known_mistake_is_status_1(place: str) -> None:
    command = [sys.executable, "-m", "app.runs", "show", "absent", "--runs", place]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"error: no run 'absent' in {place}; there are mnist-1\n"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("dance",),
        ("show",),
        ("list", "--best"),
        ("compare", "a"),
        ("logs", "a"),
        ("stop",),
    ],
)
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
    reading = (("list",), ("show", "mnist"), ("compare", "mnist", "mnist"), ("logs", "mnist", "1"))
    for command in reading:
        arguments = [sys.executable, "-c", IMPORTED, *command, "--runs", place]
        ended = subprocess.run(arguments, capture_output=True, text=True, check=True)
        assert ended.stdout.splitlines()[-1] == ""


@pytest.fixture
def start(place: str) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts a command over that place; it does not outlive its test."""
    with ExitStack() as stack:

        def begin(*arguments: str) -> "subprocess.Popen[str]":
            command = [sys.executable, "-m", "app.runs", *arguments, "--runs", place]
            started = subprocess.Popen(
                command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            process = stack.enter_context(started)
            stack.callback(process.kill)
            return process

        yield begin


@pytest.fixture
def going_on(place: str) -> Journal:
    """The run in this process's hand, training its third trial."""
    journal = Journal(Path(place, "mnist-1"), Record("mnist-1", "loss", "min", seed=0))
    journal.append("run", versions={"ray": "2"})
    journal.append("trial", trial_id="003", config={"lr": 0.001, "batch_size": 32}, leg=2)
    return journal


@pytest.fixture
def log(place: str) -> Path:
    """Log of the third trial."""
    path = Path(place, "mnist-1", "logs", "003.log")
    path.parent.mkdir()
    return path


def say(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text)


@pytest.mark.parametrize("trial", ["3", "003"])
def test_logs_prints_what_a_trial_printed(
    place: str, log: Path, trial: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # The first character that is not ASCII lies across the end of a chunk.
    log.write_bytes(b"x" * (trial_output.CHUNK_BYTES - 1) + "é\n".encode() + b"half: \xc3")
    shown = output_of(capsys, "logs", "mnist", trial, "--runs", place)
    assert shown == "x" * (trial_output.CHUNK_BYTES - 1) + "é\nhalf: \N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("content", [None, ""])
def test_logs_of_a_silent_trial_says_so(
    place: str, log: Path, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        log.write_text(content)
    runs.main(["logs", "mnist", "3", "--follow", "--runs", place])
    assert capsys.readouterr() == (
        "",
        "mnist-1: trial 003 has no log: it printed nothing, or an older version ran it\n",
    )


def test_logs_that_cannot_be_read_are_named(place: str, log: Path) -> None:
    log.mkdir()
    with pytest.raises(SystemExit, match=r"^error: cannot read .*/logs/003.log: Is a directory$"):
        runs.main(["logs", "mnist", "3", "--runs", place])


def test_logs_follows_a_trial_to_its_end(
    start: Callable[..., "subprocess.Popen[str]"], going_on: Journal, log: Path
) -> None:
    process = start("logs", "mnist", "3", "--follow")
    assert process.stdout is not None
    for line in ("first\n", "second\n"):
        say(log, line)
        assert process.stdout.readline() == line
    say(log, "last")
    going_on.append("end", trial_id="003", status="completed", error=None)
    assert process.communicate() == ("last", "")
    assert process.returncode == 0
    going_on.close()


def test_logs_follows_a_trial_while_its_run_is_in_hand(
    start: Callable[..., "subprocess.Popen[str]"], going_on: Journal, log: Path
) -> None:
    say(log, "first\n")
    process = start("logs", "mnist", "3", "--follow")
    assert process.stdout is not None
    assert process.stdout.readline() == "first\n"
    going_on.close()
    assert process.communicate() == ("", "")
    assert process.returncode == 0


def test_stop_asks_waits_and_says_how_the_run_ended(
    start: Callable[..., "subprocess.Popen[str]"], going_on: Journal
) -> None:
    process = start("stop", "mnist")
    assert process.stderr is not None
    assert process.stderr.readline() == "asked mnist-1 to stop; waiting for its end\n"
    assert (going_on.folder / STOP).is_file()
    going_on.append("status", status="stopped", reason=None)
    going_on.close()
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert out.startswith("mnist-1: stopped after ")
    assert len(out.splitlines()) == 1
    assert not (going_on.folder / STOP).exists(), "the next process would stop at once"


def test_ctrl_c_ends_what_waits_with_status_130(
    start: Callable[..., "subprocess.Popen[str]"], going_on: Journal, log: Path
) -> None:
    say(log, "first\n")
    following, stopping = start("logs", "mnist", "3", "--follow"), start("stop", "mnist")
    assert following.stdout is not None
    assert stopping.stderr is not None
    following.stdout.readline()
    stopping.stderr.readline()
    for process in (following, stopping):
        process.send_signal(signal.SIGINT)
        assert process.communicate() == ("", "")
        assert process.returncode == 130
    going_on.close()


def test_a_reader_that_has_seen_enough_is_no_mistake(
    start: Callable[..., "subprocess.Popen[str]"],
) -> None:
    process = start("list")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 128 + signal.SIGPIPE
