"""`python -m app.tune`, on a real Ray."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray._common.utils import get_system_memory
from ray._private.utils import get_used_memory

from app import tune
from app.cluster.watchdog import CORE
from app.experiment.run_folder import JOURNAL
from app.run.layout import STOP
from app.run.result_file import RESULT
from tests.support import SUPPORT
from tests.support.commands import Begin
from tests.support.waiting import until_lines

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

Tune = Callable[..., dict[str, Any]]


@pytest.fixture
def run(
    ray_address: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> Callable[..., dict[str, Any]]:
    """Runs the command with `--json` on the shared Ray, and gives what it printed."""

    def command(*arguments: object) -> dict[str, Any]:
        place = ("--runs", tmp_path / "runs", "--address", ray_address, "--json")
        tune.main([str(argument) for argument in (*arguments, *place)])
        return dict(json.loads(capfd.readouterr().out))

    return command


def test_all_trials_end_and_the_best_is_the_best(
    run: Tune, quadratic: Callable[..., Path], tmp_path: Path
) -> None:
    result = run(quadratic(), "--name", "q")

    assert result == json.loads((tmp_path / "runs/q/result.json").read_text())
    assert (result["name"], result["status"], result["reason"]) == ("q", "completed", None)
    assert [trial["trial_id"] for trial in result["trials"]] == ["001", "002", "003", "004"]
    assert {trial["status"] for trial in result["trials"]} == {"completed"}
    losses = {trial["trial_id"]: trial["metrics"]["loss"] for trial in result["trials"]}
    assert result["best"]["metrics"]["loss"] == min(losses.values())
    assert losses[result["best"]["trial_id"]] == min(losses.values())
    for trial in result["trials"]:
        assert [epoch["epoch"] for epoch in trial["history"]] == [1, 2]
        expected = (trial["config"]["x"] - 0.3) ** 2 + 0.5
        assert math.isclose(trial["metrics"]["loss"], expected)


def test_the_same_seed_gives_the_same_configurations_at_random(
    run: Tune, quadratic: Callable[..., Path]
) -> None:
    def configs(*arguments: object) -> list[dict[str, Any]]:
        return [trial["config"] for trial in run(quadratic(), *arguments)["trials"]]

    first = configs("--name", "a", "--seed", 3)
    assert configs("--name", "b", "--seed", 3, "--max-concurrent", 1) == first
    assert configs("--name", "c", "--seed", 4) != first


def test_model_based_search_is_the_same_again_one_trial_at_a_time(
    run: Tune, quadratic: Callable[..., Path]
) -> None:
    arguments = ("--search", "bayesian", "--max-concurrent", 1, "--num-samples", 6)
    first = run(quadratic(), "--name", "a", *arguments)["trials"]
    again = run(quadratic(), "--name", "b", *arguments)["trials"]
    assert [trial["config"] for trial in first] == [trial["config"] for trial in again]
    assert first[0]["config"] == {"x": 0.5}


def test_a_trial_that_raises_fails_alone_and_says_why(
    run: Tune, quadratic: Callable[..., Path]
) -> None:
    result = run(quadratic(fails=0.5), "--name", "q", "--num-samples", 6)
    failed = [trial for trial in result["trials"] if trial["config"]["x"] > 0.5]
    assert 0 < len(failed) < 6
    assert all(trial["status"] == "failed" for trial in failed)
    told = r"RuntimeError: too far out \(quadratic\.py, line \d+, in step\)\nTraceback"
    assert re.match(told, failed[0]["error"])
    assert result["best"]["config"]["x"] <= 0.5


def test_a_loss_that_is_not_a_number_is_a_failure_and_never_best(
    run: Tune, quadratic: Callable[..., Path]
) -> None:
    result = run(quadratic(diverges=0.5), "--name", "q", "--num-samples", 6)
    failed = [trial for trial in result["trials"] if trial["config"]["x"] > 0.5]
    assert {trial["error"] for trial in failed} == {"loss became nan in epoch 1"}
    assert all(trial["history"] == [] for trial in failed)


def test_a_run_of_which_every_trial_failed_says_why(
    ray_address: str, tmp_path: Path, quadratic: Callable[..., Path]
) -> None:
    place = ["--runs", str(tmp_path / "runs"), "--address", ray_address, "--name", "q"]
    with pytest.raises(
        SystemExit,
        match=r"^error: all 4 trials failed: RuntimeError: too far out \(quad.*, in step\)$",
    ):
        tune.main([str(quadratic(fails=-1.0)), *place])
    result = json.loads((tmp_path / "runs/q/result.json").read_text())
    assert (result["status"], result["best"], result["model"]) == ("failed", None, None)


@pytest.mark.parametrize("search", ["grid", "random"])
def test_a_finite_space_ends_when_every_combination_was_tried(
    run: Tune, quadratic: Callable[..., Path], search: str
) -> None:
    path = quadratic()
    path.write_text(path.read_text().replace("high = 1.0 }", "high = 1.0, step = 0.5 }"))
    path.write_text(path.read_text().replace("num_samples = 4\n", ""))
    result = run(path, "--name", "q", "--search", search)
    assert sorted(trial["config"]["x"] for trial in result["trials"]) == [0.0, 0.5, 1.0]
    ending = ("completed", "all 3 combinations were tried")
    assert (result["status"], result["reason"]) == ending


@pytest.mark.parametrize(
    ("arguments", "reason", "trials"),
    [
        (("--target", 1.0), r"loss 0\.\d+ reached its target of 1", 1),
        (("--patience", 2), "2 trials in a row ended without a better loss", 3),
    ],
)
def test_a_run_ends_before_its_trials_where_it_was_asked_to(
    run: Tune,
    quadratic: Callable[..., Path],
    arguments: tuple[object, ...],
    reason: str,
    trials: int,
) -> None:
    one_by_one = ("--max-concurrent", 1, "--num-samples", 40)
    result = run(quadratic(), "--name", "q", *one_by_one, *arguments)
    assert result["status"] == "completed"
    assert re.fullmatch(reason, result["reason"])
    assert trials <= len(result["trials"]) < 40
    assert result["best"] is not None
    assert all(trial["status"] in ("completed", "stopped") for trial in result["trials"])


def test_trials_in_flight_count_when_the_time_budget_is_spent(
    run: Tune, quadratic: Callable[..., Path], tmp_path: Path
) -> None:
    # Long enough for both trials to begin; they are held in their second epoch.
    held = quadratic(gate=str(tmp_path / "gate"))
    result = run(held, "--name", "q", "--time-budget", 30, "--epochs", 3)
    assert (result["status"], result["reason"]) == ("completed", "its time budget of 30 s is spent")
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
        quadratic(log=str(log), gate=str(gate)), *_named(tmp_path), "--address", ray_address
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


def test_a_finished_run_is_not_run_again(
    run: Tune, quadratic: Callable[..., Path], tmp_path: Path
) -> None:
    result = run(quadratic(), "--name", "q")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs/q").rglob("*")}
    assert run("--resume", "q") == result
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs/q").rglob("*")} == before


def test_the_changes_of_a_resumed_run_hold_when_it_is_resumed_again(
    run: Tune, quadratic: Callable[..., Path], tmp_path: Path
) -> None:
    run(quadratic(), "--name", "q")
    assert len(run("--resume", "q", "--num-samples", 5)["trials"]) == 5
    kept = json.loads((tmp_path / "runs/q/experiment.json").read_text())
    assert kept["num_samples"] == 5


def test_a_recorded_experiment_gives_the_same_trials_again(
    run: Tune, quadratic: Callable[..., Path], tmp_path: Path
) -> None:
    first = run(quadratic(), "--name", "first", "--seed", 5)
    again = run(tmp_path / "runs/first/experiment.json", "--name", "again")
    curves = [[(t["config"], t["history"]) for t in each["trials"]] for each in (first, again)]
    assert curves[0] == curves[1]


def test_a_trial_trained_again_alone_gives_its_metrics_bit_for_bit(
    run: Tune, tmp_path: Path
) -> None:
    folder = SUPPORT
    head = f'trainable = "{folder}/small_mnist.py:SmallMnist"\nmetric = "average_test_loss"\n'
    fixed = "[fixed]\nmomentum = 0.5\n[resources]\ncpus_per_trial = 0.5\n[space]\n"

    def trials(name: str, lr: str, batch_size: str, *arguments: object) -> list[dict[str, Any]]:
        path = tmp_path / f"{name}.toml"
        space = f"lr = {lr}\nbatch_size = {batch_size}\n"
        path.write_text(f'name = "{name}"\nmode = "min"\n{head}{fixed}{space}')
        return list(run(path, "--name", name, "--epochs", 2, *arguments)["trials"])

    lr = '{ type = "continuous", low = 0.001, high = 0.1, scale = "log" }'
    sizes = '{ type = "categorical", values = [32, 64, 128] }'
    three = ("--num-samples", 3, "--max-concurrent", 2, "--export-best")
    among = trials("among", lr, sizes, *three)[1]
    result = json.loads((tmp_path / "runs/among" / RESULT).read_text())
    model = json.loads((tmp_path / "runs/among/model/model.json").read_text())
    best = result["best"]
    assert (model["trial_id"], model["epoch"]) == (best["trial_id"], best["epoch"])
    values = [f'{{ type = "categorical", values = [{each}] }}' for each in among["config"].values()]
    (alone,) = trials("alone", *values, "--num-samples", 1)
    assert alone["config"] == among["config"]
    for epoch, again in zip(among["history"], alone["history"], strict=True):
        assert epoch.pop("seconds") != again.pop("seconds")
        assert epoch == again


def test_leftovers_of_a_crash_are_removed_when_the_run_is_resumed(
    run: Tune, quadratic: Callable[..., Path], tmp_path: Path
) -> None:
    before = run(quadratic(), "--name", "q")
    folder = tmp_path / "runs/q"
    lines = (folder / JOURNAL).read_text().splitlines(keepends=True)
    ends = [number for number, line in enumerate(lines) if '"event":"end"' in line]
    # As if it had crashed between the last trial's last epoch and the word that it had ended.
    (folder / JOURNAL).write_text("".join(lines[: ends[-1]]) + '{"event":"en')
    left = [folder / "result.json.partial", folder / ".model.01.partial/model.onnx"]
    left.append(folder / "tune/002/checkpoint_000009/state.json")
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_text("half of i")
    (folder / RESULT).write_text("")
    after = run("--resume", "q")
    assert after["trials"] == before["trials"]
    assert after["status"] == "completed"
    assert not any(
        path.exists() or path.parent.name[0] == "." for path in folder.rglob("*.partial")
    )
    assert not left[-1].parent.exists()


def test_the_handlers_of_signals_after_a_run_are_those_from_before(
    run: Tune, quadratic: Callable[..., Path]
) -> None:
    signums = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = [signal.getsignal(each) for each in signums]
    run(quadratic(), "--num-samples", 1)
    assert [signal.getsignal(each) for each in signums] == before


def test_a_trial_that_raises_goes_on_from_its_checkpoint_as_often_as_asked(
    run: Tune, quadratic: Callable[..., Path], tmp_path: Path
) -> None:
    path = quadratic(fails_once=str(tmp_path / "failed"), log=str(tmp_path / "log"))
    path.write_text("retries = 1\n" + path.read_text())
    result = run(path, "--name", "q", "--num-samples", 1, "--epochs", 3)
    assert [(trial["status"], trial["epochs"]) for trial in result["trials"]] == [("completed", 3)]
    trained = [json.loads(line)[1] for line in (tmp_path / "log").read_text().splitlines()]
    assert trained == [1, 2, 2, 3]


def test_a_trial_that_hangs_is_ended_and_says_so(
    run: Tune, quadratic: Callable[..., Path], tmp_path: Path
) -> None:
    path = quadratic(hangs=0.5)
    path.write_text("retries = 0\nstep_timeout = 2\n" + path.read_text())
    result = run(path, "--name", "q", "--num-samples", 4)
    hung = [trial for trial in result["trials"] if trial["config"]["x"] > 0.5]
    assert 0 < len(hung) < 4
    for trial in hung:
        assert trial["status"] == "failed"
        hung_in = r"it hung: an epoch took longer than 2 s \(quadratic\.py, line \d+, in step\)"
        assert re.fullmatch(rf"{hung_in}\nabout to hang", trial["error"])
        log = tmp_path / "runs/q/logs" / f"{trial['trial_id']}.log"
        assert log.read_text().startswith("about to hang\nTimeout (0:00:02)!")


def test_a_trial_for_which_there_is_no_memory_says_so_and_the_run_goes_on(
    tmp_path: Path, quadratic: Callable[..., Path]
) -> None:
    path = quadratic(hogs=0.9, bytes=5e9)
    path.write_text("retries = 2\n" + path.read_text())
    # Ray ends a process where the machine holds three gigabytes more than it does now, and others
    # of the run where the memory is not given back yet.
    limit = (get_used_memory() + 3e9) / get_system_memory()
    place = ["--runs", str(tmp_path / "runs"), "--json", "--max-concurrent", "1"]
    process = subprocess.run(
        [sys.executable, "-m", "app.tune", str(path), *place],
        env={**os.environ, "RAY_memory_usage_threshold": str(limit)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    trials = json.loads(process.stdout)["trials"]
    hogs = [trial for trial in trials if trial["config"]["x"] > 0.9]
    assert 0 < len(hogs) < len(trials) == 4
    assert trials[0]["status"] == "completed"
    assert {trial["status"] for trial in hogs} == {"failed"}
    error = "its process was ended because the machine ran out of memory, 3 times"
    assert {trial["error"] for trial in trials} == {None, error}


@pytest.mark.parametrize("name", CORE)
def test_a_run_whose_ray_is_killed_says_so_and_can_go_on(
    run: Tune, tmp_path: Path, quadratic: Callable[..., Path], name: str, begin: Begin
) -> None:
    log, gate = tmp_path / "log", tmp_path / "gate"
    command = begin(quadratic(log=str(log), gate=str(gate)), *_named(tmp_path))
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
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
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


def test_a_warm_start_takes_over_what_an_earlier_run_found(
    run: Tune, quadratic: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    earlier = run(quadratic(), "--name", "earlier")
    search = ("--search", "bayesian", "--max-concurrent", 1, "--num-samples", 2)
    warm = run(quadratic(), "--name", "warm", *search, "--warm-start", "earlier")
    cold = run(quadratic(), "--name", "cold", *search)
    assert cold["trials"][0]["config"] == {"x": 0.5}
    # A model of four trials proposes the first one.
    assert warm["trials"][0]["config"]["x"] not in (0.5, *_xs(earlier))
    assert len(warm["trials"]) == 2


def _xs(result: dict[str, Any]) -> list[float]:
    return [trial["config"]["x"] for trial in result["trials"]]


def test_only_the_best_and_the_latest_checkpoint_stay(
    run: Tune, quadratic: Callable[..., Path], tmp_path: Path
) -> None:
    run(quadratic(), "--name", "q", "--epochs", 5, "--num-samples", 1)
    kept = sorted(path.name for path in (tmp_path / "runs/q/tune/001").glob("checkpoint_*"))
    assert kept == ["checkpoint_000004"]


def test_a_trial_whose_process_is_killed_goes_on_from_its_last_epoch(
    ray_address: str, tmp_path: Path, quadratic: Callable[..., Path], begin: Begin
) -> None:
    log, gate = tmp_path / "log", tmp_path / "gate"
    path = quadratic(log=str(log), gate=str(gate))
    flags = ("--address", ray_address, "--num-samples", "1", "--epochs", "3")
    command = begin(path, *_named(tmp_path), *flags)
    until_lines(log, 2, command)
    os.kill(json.loads(log.read_text().splitlines()[1])[2], signal.SIGKILL)
    gate.touch()
    out, err = command.communicate(timeout=300)
    assert command.returncode == 0, err
    trial = json.loads(out)["trials"][0]
    assert (trial["status"], trial["epochs"]) == ("completed", 3)
    assert [json.loads(line)[1] for line in log.read_text().splitlines()] == [1, 2, 2, 3]


def test_a_run_whose_folder_is_moved_ends_and_goes_on_from_where_it_is(
    ray_address: str,
    tmp_path: Path,
    quadratic: Callable[..., Path],
    begin: Begin,
    capfd: pytest.CaptureFixture[str],
) -> None:
    log, gate = tmp_path / "log", tmp_path / "gate"
    toml = quadratic(log=str(log), gate=str(gate))
    command = begin(toml, *_named(tmp_path), "--address", ray_address)
    until_lines(log, 4, command)
    (tmp_path / "new").mkdir()
    (tmp_path / "runs/q").rename(tmp_path / "new/q")
    gate.touch()
    _, err = command.communicate(timeout=300)
    assert command.returncode == 1
    moved = f"{tmp_path}/runs/q was moved to {tmp_path}/new/q while its run went on"
    on = f"go on by: python -m app.tune --resume q --runs {tmp_path}/new"
    assert err.splitlines()[-1] == f"error: {moved}; {on}"
    assert not (tmp_path / "runs/q").exists()
    tune.main(["--resume", "q", "--runs", f"{tmp_path}/new", "--address", ray_address, "--json"])
    result = json.loads(capfd.readouterr().out)
    assert [(t["status"], t["epochs"]) for t in result["trials"]] == [("completed", 2)] * 4


DIES = """
import os
import signal
from pathlib import Path

from quadratic import Quadratic

class Dies(Quadratic):
    def reset_config(self, new_config):
        once = Path(new_config["once"])
        if hasattr(self, "values") and not once.exists():
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().reset_config(new_config)
"""


def test_a_process_that_is_killed_while_it_takes_its_next_trial_is_one_loss(
    run: Tune, quadratic: Callable[..., Path], tmp_path: Path
) -> None:
    shutil.copy(SUPPORT / "quadratic.py", tmp_path)
    (tmp_path / "dies.py").write_text(DIES)
    path = quadratic(once=str(tmp_path / "once"))
    table = path.read_text().replace(f"{SUPPORT}/quadratic.py:Quadratic", "dies.py:Dies")
    path.write_text("retries = 1\n" + table)
    trials = run(path, "--name", "q", "--max-concurrent", 1, "--num-samples", 3)["trials"]
    assert [(trial["status"], trial["epochs"]) for trial in trials] == [("completed", 2)] * 3
    assert [trial["restarts"] for trial in trials] == [0, 1, 0]


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
    command = begin(path, *_named(tmp_path), "--address", ray_address, "--epochs", "3")
    until_lines(log, 4, command)
    command.send_signal(signum)
    out, err = command.communicate(timeout=300)
    assert command.returncode == status, err
    place = tmp_path / "runs"
    assert err.splitlines()[-1] == (
        f"interrupted; go on by: python -m app.tune --resume q --runs {place}"
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
    command = begin(path, *_named(tmp_path), "--address", ray_address, "--epochs", "3")
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


def test_a_resumed_run_refuses_what_would_change_its_results(
    run: Tune, ray_address: str, tmp_path: Path, quadratic: Callable[..., Path]
) -> None:
    run(quadratic(), "--name", "q")
    place = ["--runs", str(tmp_path / "runs"), "--address", ray_address]
    message = "^error: --resume q: its epochs is 2 and cannot become 4; what may change is "
    with pytest.raises(SystemExit, match=message):
        tune.main(["--resume", "q", "--epochs", "4", *place])


def _named(folder: Path) -> list[str]:
    return ["--runs", str(folder / "runs"), "--name", "q", "--json"]
