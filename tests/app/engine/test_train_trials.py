"""Runs whose trials are Ray Train's, on a real Ray."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray

from app import tune
from app.cluster.orphaned_groups import remove_orphans
from tests.support import SUPPORT
from tests.support.commands import Begin, Tune
from tests.support.pair_train import LATE
from tests.support.waiting import until_lines

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

PAIR = """
name = "pair"
trainable = "{here}/pair_train.py:train"
metric = "loss"
mode = "min"
epochs = 3
search = "grid"
[space]
how = {{ type = "categorical", values = {hows} }}
[fixed]
mark = "{place}/mark"
log = "{place}/log"
[resources]
cpus_per_trial = 0.5
workers_per_trial = 2
"""

Pair = Callable[..., Path]


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """Writes an experiment whose trials behave so in turn."""

    def write(*hows: str) -> Path:
        toml = tmp_path / "pair.toml"
        toml.write_text(PAIR.format(here=SUPPORT, place=tmp_path, hows=json.dumps(hows)))
        return toml

    return write


def test_a_function_is_trained_by_workers_that_meet_and_leave_nothing(
    run: Tune, pair: Pair, tmp_path: Path
) -> None:
    # Two groups of workers fit, of the three that are asked for.
    result = run(pair("fine"), "--name", "r", "--max-concurrent", "3")
    (trial,) = result["trials"]
    assert (trial["status"], trial["restarts"]) == ("completed", 0)
    assert [epoch["came"] for epoch in trial["history"]] == [2, 2, 2]
    saved = sorted((tmp_path / "runs/r/tune/001").glob("checkpoint_*/checkpoint/epoch"))
    assert saved[-1].read_text() == "3"
    log = (tmp_path / "runs/r/logs/001.log").read_text().splitlines()
    assert {f"epoch 3 of worker {rank}" for rank in (0, 1)} <= set(log)
    assert list((tmp_path / "runs/r/train").iterdir()) == []
    assert_all_is_free()


@pytest.mark.nightly
def test_a_trial_goes_on_from_its_last_checkpoint_when_a_worker_is_lost(
    run: Tune, pair: Pair, tmp_path: Path
) -> None:
    (trial,) = run(pair("1 dies once"), "--name", "r", "--epochs", LATE)["trials"]
    assert (trial["status"], trial["restarts"]) == ("completed", 1)
    assert [epoch["came"] for epoch in trial["history"]] == [2] * LATE
    begun = [json.loads(line)[1] for line in (tmp_path / "log").read_text().splitlines()]
    assert begun.count(1) == 1
    assert_all_is_free()


@pytest.mark.nightly
def test_a_trial_fails_for_the_worker_that_failed_and_the_next_one_trains(
    run: Tune, pair: Pair
) -> None:
    result = run(pair("1 raises", "0 raises", "1 refuses", "fine"), "--name", "r")
    trials = {trial["config"]["how"]: trial for trial in result["trials"]}
    assert trials["fine"]["status"] == "completed"
    said = {how: str(trial["error"]).splitlines()[0] for how, trial in trials.items()}
    raised = "ValueError: the data is of last year (pair_train.py, line "
    assert said["1 raises"].startswith(f"worker 2 of 2: {raised}")
    assert said["0 raises"].startswith(raised)
    assert said["1 refuses"] == "worker 2 of 2: the data is gone"
    assert_all_is_free()


def test_a_group_whose_trial_was_killed_is_freed(ray_address: str) -> None:
    creator: Any = Creator
    group = ray.get(creator.remote().create.remote())
    # No handle was kept: that actor has ended, or will have in a moment.
    kept = ray.util.placement_group([{"CPU": 0.1}])
    freed: list[str] = []
    while group not in freed:
        freed += remove_orphans()
    assert freed == [group]
    assert kept.wait(60)
    ray.util.remove_placement_group(kept)


@ray.remote(num_cpus=0)
class Creator:
    """Makes a placement group, as Ray Train's controller does."""

    def create(self) -> str:
        return str(ray.util.placement_group([{"CPU": 1}]).id.hex())


@pytest.mark.nightly
def test_a_run_goes_on_after_its_command_was_killed(
    ray_address: str, pair: Pair, tmp_path: Path, begin: Begin, capfd: pytest.CaptureFixture[str]
) -> None:
    path = pair("fine")
    path.write_text(path.read_text().replace("[fixed]", "[fixed]\nseconds = 1.0"))
    place = ("--runs", tmp_path / "runs", "--address", ray_address)
    process = begin(path, *place, "--name", "r", "--epochs", LATE)
    until_lines(tmp_path / "runs/r/journal.jsonl", 3, process)  # the run, the trial, its epoch
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    tune.main(["--resume", "r", *map(str, place), "--json"])
    (trial,) = json.loads(capfd.readouterr().out)["trials"]
    assert (trial["status"], trial["epochs"]) == ("completed", LATE)
    begun = [json.loads(line)[1] for line in (tmp_path / "log").read_text().splitlines()]
    assert begun.count(1) == 1
    assert_all_is_free()


def assert_all_is_free() -> None:
    """Wait until the cluster's CPUs can all be had at once."""
    group = ray.util.placement_group([{"CPU": 2}])
    assert group.wait(60)
    ray.util.remove_placement_group(group)
