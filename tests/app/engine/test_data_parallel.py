"""Runs whose trials have several workers, on a real Ray."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray

from app import tune
from tests.support import SUPPORT

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

PAIR = """
name = "pair"
trainable = "{here}/pair.py:Pair"
metric = "loss"
mode = "min"
epochs = 3
search = "grid"
[space]
how = {{ type = "categorical", values = {hows} }}
[fixed]
mark = "{mark}"
[resources]
cpus_per_trial = 0.5
workers_per_trial = 2
"""
MNIST = """
name = "digits"
trainable = "{here}/small_mnist.py:SmallMnist"
metric = "average_test_loss"
mode = "min"
num_samples = 2
max_concurrent = 1
epochs = 2
search = "random"
early_stopping = "asha"
[space]
lr = {{ type = "continuous", low = 0.01, high = 0.1 }}
[fixed]
momentum = 0.5
batch_size = 32
[resources]
cpus_per_trial = 1.0
workers_per_trial = 2
"""

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(ray_address: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs the command with `--json` on an experiment, and gives what it printed."""

    def command(text: str, *arguments: str, **values: object) -> dict[str, Any]:
        toml = tmp_path / "data_parallel.toml"
        toml.write_text(text.format(here=SUPPORT, mark=tmp_path / "mark", **values))
        place = ("--runs", str(tmp_path / "runs"), "--address", ray_address, "--name", "r")
        tune.main([str(toml), *place, "--json", *arguments])
        return dict(json.loads(capfd.readouterr().out))

    return command


def test_each_trial_ends_as_its_workers_do_and_the_next_one_trains(
    run: Run, tmp_path: Path
) -> None:
    hows = ["1 raises", "0 raises", "1 refuses", "1 dies once", "fine"]
    # Five at once are more than there is room for.
    result = run(PAIR, "--max-concurrent", "5", hows=hows)
    assert result["status"] == "completed"
    trials = {trial["config"]["how"]: trial for trial in result["trials"]}
    for how in ("1 dies once", "fine"):
        assert trials[how]["status"] == "completed"
        assert [epoch["came"] for epoch in trials[how]["history"]] == [2, 2, 2]
    said = {how: str(trial["error"]).splitlines()[0] for how, trial in trials.items()}
    raised = "ValueError: the data is of last year ("
    assert said["1 raises"].startswith(f"worker 2 of 2: {raised}")
    assert said["0 raises"].startswith(raised)
    assert said["1 raises"].endswith(", in _misbehave)")
    assert said["1 refuses"] == "worker 2 of 2: the data is gone"
    log = (tmp_path / "runs/r/logs" / f"{trials['1 raises']['trial_id']}.log").read_text()
    assert "in _misbehave" in log
    lines = {f"the {one} has begun and ended" for one in ("first", "second")}
    assert lines <= set(log.splitlines())
    assert_all_is_free()


@pytest.mark.nightly
def test_digits_are_learned_by_two_workers_and_exported_as_by_one(run: Run, tmp_path: Path) -> None:
    result = run(MNIST)
    assert (result["status"], result["model"]) == ("completed", "model")
    assert result["best"]["metrics"]["test_accuracy"] > 0.6
    assert_all_is_free()


def assert_all_is_free() -> None:
    """Wait until the cluster's CPUs can all be had at once."""
    group = ray.util.placement_group([{"CPU": 2}])
    assert group.wait(60)
    ray.util.remove_placement_group(group)
