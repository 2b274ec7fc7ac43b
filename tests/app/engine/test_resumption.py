"""Runs that end before their time, and go on where they were."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app import tune
from app.cluster.watchdog import CORE
from app.run.layout import STOP
from app.run.result_file import RESULT
from tests.support.commands import Begin, Tune, named
from tests.support.waiting import until_lines

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


TWO = ("--max-concurrent", "2")
"""Words that train two trials at a time."""


def test_trials_in_flight_count_when_the_time_budget_is_spent(
    run: Tune, quadratic: Callable[..., Path], tmp_path: Path
) -> None:
    # Long enough for both trials to begin; they are held in their second epoch.
    held = quadratic(gate=str(tmp_path / "gate"))
    result = run(held, "--name", "q", "--time-budget", 12, "--epochs", 3, *TWO)
    assert (result["status"], result["reason"]) == ("completed", "its time budget of 12 s is spent")
    assert [(trial["status"], trial["epochs"]) for trial in result["trials"]] == [
        ("stopped", 1),
        ("stopped", 1),
    ]
    assert result["best"]["epoch"] == 1
    spent = run("--resume", "q", "--time-budget", 1)
    assert [trial["status"] for trial in spent["trials"]] == ["stopped", "stopped"]
    (tmp_path / "gate").touch()
    more = run("--resume", "q", "--time-budget", 600)
    assert (more["reason"], len(more["trials"])) == (None, 4)


def test_a_run_that_is_asked_to_stop_keeps_what_it_has_and_can_go_on(
    run: Tune, ray_address: str, tmp_path: Path, quadratic: Callable[..., Path], begin: Begin
) -> None:
    log, gate = tmp_path / "log", tmp_path / "gate"
    command = begin(
        quadratic(log=str(log), gate=str(gate)), *TWO, *named(tmp_path), "--address", ray_address
    )
    until_lines(log, 4, command)
    (tmp_path / "runs/q" / STOP).touch()
    out, err = command.communicate(timeout=300)
    assert command.returncode == 0, err
    result = json.loads(out)
    assert (result["status"], result["reason"]) == ("stopped", "by app.runs stop")
    assert [trial["status"] for trial in result["trials"]] == ["interrupted", "interrupted"]
    assert not (tmp_path / "runs/q" / STOP).exists()
    gate.touch()
    whole = run("--resume", "q")
    assert [(t["status"], t["epochs"]) for t in whole["trials"]] == [("completed", 2)] * 4


@pytest.mark.parametrize("name", CORE)
def test_a_run_whose_ray_is_killed_says_so_and_can_go_on(
    run: Tune, tmp_path: Path, quadratic: Callable[..., Path], name: str, begin: Begin
) -> None:
    log, gate = tmp_path / "log", tmp_path / "gate"
    command = begin(quadratic(log=str(log), gate=str(gate)), *TWO, *named(tmp_path))
    until_lines(log, 4, command)
    os.kill(_child(command.pid, name), signal.SIGKILL)
    _, err = command.communicate(timeout=300)
    assert command.returncode == 1
    last = err.splitlines()[-1]
    again = f"python -m app.tune --resume q --runs {tmp_path / 'runs'}"
    assert last == f"error: Ray's {name} was lost; go on by: {again}"
    gate.touch()
    result = run("--resume", "q")
    assert [(trial["status"], trial["epochs"]) for trial in result["trials"]] == [
        ("completed", 2)
    ] * 4


def _child(parent: int, name: str) -> int:
    """The process of that name that another one started."""
    threads = Path(f"/proc/{parent}/task").glob("*/children")
    children = [pid for started in threads for pid in started.read_text().split()]
    (found,) = (pid for pid in children if Path(f"/proc/{pid}/comm").read_text().strip() == name)
    return int(found)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes; `mount -o remount,size=…` makes it larger."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_ends_the_run_which_goes_on_once_there_is_room(
    ray_address: str,
    small_disk: Path,
    quadratic: Callable[..., Path],
    capfd: pytest.CaptureFixture[str],
) -> None:
    place = ["--runs", str(small_disk), "--address", ray_address, "--json"]
    with pytest.raises(SystemExit, match=r"^error: .*No space left on device.*$"):
        tune.main([str(quadratic(bulk=1_500_000)), "--name", "q", "--epochs", "3", *place])
    capfd.readouterr()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    tune.main(["--resume", "q", *place])
    result = json.loads(capfd.readouterr().out)
    assert result["status"] == "completed"
    assert [(t["status"], t["epochs"]) for t in result["trials"]] == [("completed", 3)] * 4


def test_a_run_whose_folder_is_moved_ends_and_goes_on_from_where_it_is(
    ray_address: str,
    tmp_path: Path,
    quadratic: Callable[..., Path],
    begin: Begin,
    capfd: pytest.CaptureFixture[str],
) -> None:
    log, gate = tmp_path / "log", tmp_path / "gate"
    toml = quadratic(log=str(log), gate=str(gate))
    command = begin(toml, *TWO, *named(tmp_path), "--address", ray_address)
    until_lines(log, 4, command)
    (tmp_path / "new").mkdir()
    (tmp_path / "runs/q").rename(tmp_path / "new/q")
    gate.touch()
    _, err = command.communicate(timeout=300)
    assert command.returncode == 1
    moved = f"{tmp_path}/runs/q was moved to {tmp_path}/new/q while its run went on"
    on = f"go on by: python -m app.tune --resume q --runs {tmp_path}/new --address {ray_address}"
    assert err.splitlines()[-1] == f"error: {moved}; {on}"
    assert not (tmp_path / "runs/q").exists()
    tune.main(["--resume", "q", "--runs", f"{tmp_path}/new", "--address", ray_address, "--json"])
    result = json.loads(capfd.readouterr().out)
    assert [(t["status"], t["epochs"]) for t in result["trials"]] == [("completed", 2)] * 4


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_is_saved_and_goes_on_where_it_was(
    run: Tune,
    ray_address: str,
    tmp_path: Path,
    quadratic: Callable[..., Path],
    signum: signal.Signals,
    status: int,
    begin: Begin,
) -> None:
    log, gate = tmp_path / "log", tmp_path / "gate"
    path = quadratic(log=str(log), gate=str(gate))
    command = begin(path, *TWO, *named(tmp_path), "--address", ray_address, "--epochs", "3")
    until_lines(log, 4, command)
    command.send_signal(signum)
    out, err = command.communicate(timeout=300)
    assert command.returncode == status, err
    place = tmp_path / "runs"
    assert err.splitlines()[-1] == (
        f"interrupted; go on by: python -m app.tune --resume q --runs {place}"
        f" --address {ray_address}"
    )
    saved = json.loads(out)
    assert (saved["status"], saved["reason"]) == ("interrupted", signum.name)
    assert [trial["status"] for trial in saved["trials"]] == ["interrupted"] * 2

    gate.touch()
    result = run("--resume", "q")
    assert result["status"] == "completed"
    assert [trial["epochs"] for trial in result["trials"]] == [3, 3, 3, 3]
    assert [t["config"] for t in result["trials"][:2]] == [t["config"] for t in saved["trials"]]
    # Both trials were held in their second epoch: it alone is trained twice.
    trained = [tuple(json.loads(line)[:2]) for line in log.read_text().splitlines()]
    twice = {each for each in trained if trained.count(each) > 1}
    assert {epoch for _, epoch in twice} == {2}
    assert len(trained) == 4 * 3 + 2

    again = run("--resume", "q", "--num-samples", 5)
    assert len(again["trials"]) == 5
    assert again["trials"][:4] == result["trials"]


def test_a_lost_checkpoint_is_replaced_by_the_one_before_and_other_trials_lose_nothing(
    ray_address: str,
    tmp_path: Path,
    quadratic: Callable[..., Path],
    begin: Begin,
    capfd: pytest.CaptureFixture[str],
) -> None:
    log, gate = tmp_path / "log", tmp_path / "gate"
    path = quadratic(log=str(log), gate=str(gate))
    command = begin(path, *TWO, *named(tmp_path), "--address", ray_address, "--epochs", "3")
    until_lines(log, 4, command)
    command.send_signal(signal.SIGINT)
    command.communicate(timeout=300)
    folder = tmp_path / "runs/q"
    (folder / "tune/001/checkpoint_000000/state.json").write_text("")
    shutil.rmtree(folder / "tune/002/checkpoint_000000")
    gate.touch()
    tune.main(["--resume", "q", "--runs", str(tmp_path / "runs"), "--address", ray_address])
    result = json.loads((folder / RESULT).read_text())
    assert [(t["status"], t["epochs"]) for t in result["trials"]] == [("completed", 3)] * 4
    for trial in result["trials"]:
        assert [epoch["epoch"] for epoch in trial["history"]] == [1, 2, 3]
    said = capfd.readouterr().err.splitlines()
    assert "trial 002  begins again: its checkpoint of epoch 1 is gone" in said
    (read,) = [line for line in said if line.startswith("trial 001  begins again: ")]
    assert "its checkpoint of epoch 1 cannot be read (JSONDecodeError: " in read
