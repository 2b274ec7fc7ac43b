"""`python -m app.tune`, on a real Ray."""

import json
import math
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray

from app import tune
from app.experiment.run_folder import JOURNAL
from app.run.result_file import RESULT
from tests.support import SUPPORT
from tests.support.commands import Tune, stay_connected
from tests.support.experiments import write_quadratic

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


TWO = ("--max-concurrent", "2")
"""Words that train two trials at a time."""


@pytest.fixture(scope="module")
def complete(shared_ray: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run of four trials, two at a time."""
    stay_connected(shared_ray)
    folder = tmp_path_factory.mktemp("complete")
    place = ["--runs", str(folder), "--address", shared_ray, "--name", "q", *TWO]
    tune.main([str(write_quadratic(folder / "quadratic.toml")), *place])
    return folder / "q"


@pytest.fixture
def copied(complete: Path, tmp_path: Path) -> Path:
    """A copy of the complete run, which a test may change or go on with."""
    return Path(shutil.copytree(complete, tmp_path / "runs/q"))


def test_all_trials_end_and_the_best_is_the_best(complete: Path) -> None:
    result = json.loads((complete / RESULT).read_text())
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


def test_the_same_seed_gives_the_same_trials_however_many_train_at_once(
    run: Tune, complete: Path
) -> None:
    first = json.loads((complete / RESULT).read_text())
    again = run(complete / "experiment.json", "--name", "again", "--max-concurrent", 1)
    curves = [
        [(trial["config"], trial["history"]) for trial in result["trials"]]
        for result in (first, again)
    ]
    assert curves[0] == curves[1]
    other = run(complete / "experiment.json", "--seed", 4, "--num-samples", 1)["trials"]
    assert other[0]["config"] != first["trials"][0]["config"]


def test_model_based_search_is_the_same_again_one_trial_at_a_time(
    run: Tune, quadratic: Callable[..., Path]
) -> None:
    arguments = ("--search", "bayesian", "--num-samples", 6)
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
    budget = ("--num-samples", 40)
    result = run(quadratic(), "--name", "q", *budget, *arguments)
    assert result["status"] == "completed"
    assert re.fullmatch(reason, result["reason"])
    assert trials <= len(result["trials"]) < 40
    assert result["best"] is not None
    assert all(trial["status"] in ("completed", "stopped") for trial in result["trials"])


def test_a_finished_run_is_not_run_again(run: Tune, copied: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*")}
    assert run("--resume", "q") == json.loads((copied / RESULT).read_text())
    assert {path: path.stat().st_mtime_ns for path in copied.rglob("*")} == before


def test_the_changes_of_a_resumed_run_hold_when_it_is_resumed_again(
    run: Tune, copied: Path
) -> None:
    assert len(run("--resume", "q", "--num-samples", 5)["trials"]) == 5
    kept = json.loads((copied / "experiment.json").read_text())
    assert kept["num_samples"] == 5


@pytest.mark.nightly
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
    two = ("--num-samples", 2, "--max-concurrent", 2, "--export-best")
    among = trials("among", lr, sizes, *two)[1]
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


def test_leftovers_of_a_crash_are_removed_when_the_run_is_resumed(run: Tune, copied: Path) -> None:
    folder = copied
    before = json.loads((folder / RESULT).read_text())
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


def test_a_search_uses_the_ray_of_its_process_and_leaves_it(
    run: Tune, ray_address: str, quadratic: Callable[..., Path]
) -> None:
    run(quadratic(), "--num-samples", 1)
    assert ray.get_runtime_context().gcs_address == ray_address
    sentence = f"^error: --address: this process is connected to Ray at {ray_address} already$"
    with pytest.raises(SystemExit, match=sentence):
        tune.main([str(quadratic()), "--address", "127.0.0.1:1"])


def test_the_handlers_of_signals_after_a_run_are_those_from_before(
    run: Tune, quadratic: Callable[..., Path]
) -> None:
    signums = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = [signal.getsignal(each) for each in signums]
    run(quadratic(), "--num-samples", 1)
    assert [signal.getsignal(each) for each in signums] == before


def test_a_warm_start_takes_over_what_an_earlier_run_found(
    run: Tune, quadratic: Callable[..., Path], copied: Path
) -> None:
    search = ("--search", "bayesian", "--num-samples", 2)
    warm = run(quadratic(), "--name", "warm", *search, "--warm-start", "q")
    trials = json.loads((copied / RESULT).read_text())["trials"]
    cold = run(quadratic(), "--name", "cold", *search)
    assert cold["trials"][0]["config"] == {"x": 0.5}
    # A model of four trials proposes the first one.
    assert warm["trials"][0]["config"]["x"] not in {
        0.5,
        *(trial["config"]["x"] for trial in trials),
    }
    assert len(warm["trials"]) == 2


def test_only_the_best_and_the_latest_checkpoint_stay(
    run: Tune, quadratic: Callable[..., Path], tmp_path: Path
) -> None:
    run(quadratic(), "--name", "q", "--epochs", 5, "--num-samples", 1)
    kept = sorted(path.name for path in (tmp_path / "runs/q/tune/001").glob("checkpoint_*"))
    assert kept == ["checkpoint_000004"]


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        (["--seed", "4"], "its seed is 0 and cannot become 4; what may change, by a flag, is "),
        (["--epochs", "1"], "its epochs are 2 and can only become more, got 1$"),
    ],
)
def test_a_resumed_run_refuses_what_would_change_its_results(
    ray_address: str, copied: Path, flag: list[str], sentence: str
) -> None:
    place = ["--runs", str(copied.parent), "--address", ray_address]
    with pytest.raises(SystemExit, match=f"^error: --resume q: {sentence}"):
        tune.main(["--resume", "q", *flag, *place])


def test_a_resumed_run_takes_its_completed_trials_on_to_more_epochs(
    run: Tune, copied: Path
) -> None:
    before = json.loads((copied / RESULT).read_text())
    shutil.rmtree(copied / "tune/002")  # As `app.runs prune` leaves a trial.
    after = run("--resume", "q", "--epochs", 4)
    assert after["status"] == "completed"
    epochs = [(trial["status"], trial["epochs"]) for trial in after["trials"]]
    assert epochs == [("completed", 2 if number == 1 else 4) for number in range(len(epochs))]
    for trial, earlier in zip(after["trials"], before["trials"], strict=True):
        assert trial["config"] == earlier["config"]
        assert trial["history"][:2] == earlier["history"]
    assert after["best"]["epoch"] == 4
    again = run("--resume", "q")
    assert [trial["epochs"] for trial in again["trials"]] == [count for _, count in epochs]
