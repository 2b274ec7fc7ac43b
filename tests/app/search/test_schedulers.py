"""Early stopping by name: the decisions of each scheduler, and the epochs it saves."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ray.air.constants import TRAINING_ITERATION
from ray.tune.schedulers import TrialScheduler

from app import tune
from app.experiment import loading
from app.experiment.early_stopping import EarlyStopping
from app.experiment.errors import ExperimentError
from app.run.journal import Journal
from app.run.record import Record
from app.search.schedulers import SCHEDULERS


@pytest.mark.ray
@pytest.mark.timeout(600)
@pytest.mark.parametrize("rule", ["median", "asha"])
def test_early_stopping_saves_epochs_and_says_how_many(
    rule: str,
    ray_address: str,
    tmp_path: Path,
    quadratic: Callable[..., Path],
    capfd: pytest.CaptureFixture[str],
) -> None:
    place = ["--runs", str(tmp_path / "runs"), "--address", ray_address, "--name", "q"]
    budget = ["--num-samples", "8", "--epochs", "4", "--max-concurrent", "1"]
    tune.main([str(quadratic()), *place, *budget, "--early-stopping", rule])
    result = json.loads((tmp_path / "runs/q/result.json").read_text())
    trained = sum(trial["epochs"] for trial in result["trials"])
    stopped = [trial for trial in result["trials"] if trial["status"] == "stopped"]
    assert stopped
    assert all(trial["epochs"] < 4 for trial in stopped)
    assert trained < 8 * 4
    *_, which, saved = capfd.readouterr().out.splitlines()
    assert saved == f"early stopping ({rule}) saved {8 * 4 - trained} of 32 epochs"
    first = stopped[0]
    several = f"{len(stopped)} trials; first " if len(stopped) > 1 else ""
    which_first = f"trial {first['trial_id']} after epoch {first['epochs']}"
    assert which == f"early stopping ({rule}) stopped {several}{which_first}"


@dataclass(frozen=True)
class FakeTrial:
    trial_id: str


def decisions(
    name: str, *reports: tuple[str, int, float], mode: str = "min", **settings: Any
) -> list[str]:
    """A scheduler's decision on each report of a trial, an epoch and a value."""
    scheduler: Any = SCHEDULERS[name](**settings)
    scheduler.set_search_properties("value", mode)
    trials = {trial_id: FakeTrial(trial_id) for trial_id, _, _ in reports}
    return [
        scheduler.on_trial_result(
            None, trials[trial_id], {TRAINING_ITERATION: epoch, "value": value}
        )
        for trial_id, epoch, value in reports
    ]


@pytest.mark.parametrize(("mode", "sign"), [("min", 1), ("max", -1)])
def test_asha_continues_the_best_third_of_every_epoch(mode: str, sign: int) -> None:
    firsts = [("a", 1, 0.5), ("b", 1, 0.4), ("c", 1, 0.3), ("d", 1, 0.35), ("e", 1, 0.45)]
    reports = [*firsts, ("c", 2, 0.2), ("d", 2, 0.25)]
    signed = [(name, epoch, sign * value) for name, epoch, value in reports]
    decided = decisions("asha", *signed, mode=mode)
    # Where d comes a third of four is one ahead; where e comes there are three.
    assert decided == ["CONTINUE"] * 4 + ["STOP"] + ["CONTINUE"] * 2


def test_asha_stops_a_trial_that_is_worse_with_more_epochs() -> None:
    assert decisions("asha", ("slow", 1, 0.9), ("quick", 1, 0.2), ("slow", 2, 0.5)) == [
        "CONTINUE",
        "CONTINUE",
        "STOP",
    ]


def test_asha_compares_trials_by_their_best_epochs() -> None:
    assert decisions("asha", ("a", 1, 0.2), ("b", 1, 0.1), ("b", 2, 0.9), ("a", 2, 0.15))[2] == (
        "CONTINUE"
    )


def test_asha_forgets_epochs_that_a_restart_discarded() -> None:
    # The process of a is lost after its second epoch, and it begins again.
    reports = [("a", 1, 0.9), ("a", 2, 0.1), ("a", 1, 0.9), ("b", 1, 0.3), ("a", 2, 0.8)]
    assert decisions("asha", *reports) == ["CONTINUE"] * 4 + ["STOP"]


def warming_up(rate: float, epoch: int) -> float:
    """A loss whose best rate, the lowest, has the worst of all in its first two epochs."""
    return 9.0 - 50 * rate if epoch <= 2 else rate + 1 / epoch


@pytest.mark.parametrize("rule", ["asha", "median"])
@pytest.mark.parametrize("grace", [0, 2, 3])
def test_a_grace_period_keeps_trials_that_warm_up(rule: str, grace: int) -> None:
    scheduler: Any = SCHEDULERS[rule](grace=grace)
    scheduler.set_search_properties("value", "min")
    decision = TrialScheduler.CONTINUE
    for rate in (0.1, 0.08, 0.06, 0.04, 0.001):
        trial = FakeTrial(str(rate))
        for epoch in range(1, 6):
            result = {TRAINING_ITERATION: epoch, "value": warming_up(rate, epoch)}
            decision = scheduler.on_trial_result(None, trial, result)
            if decision == TrialScheduler.STOP:
                break
    assert decision == (TrialScheduler.CONTINUE if grace else TrialScheduler.STOP)


def test_a_restart_discards_epochs_of_the_grace_period() -> None:
    for name in ("asha", "median"):
        others = [(other, 2, 0.5) for other in "bcd"]
        # In the second of its epochs a is lost and begins again: 0.1 is gone, in its grace too.
        reports = [*others, ("a", 2, 0.1), ("a", 1, 0.9), ("a", 2, 0.8)]
        assert decisions(name, *reports, grace=1)[-1] == TrialScheduler.STOP


def test_keep_and_min_samples_change_how_many_trials_stop() -> None:
    reports = [(str(number), 1, float(number)) for number in range(6)]
    for keep, kept in ((1 / 3, 1), (0.99, 6)):
        assert decisions("asha", *reports, keep=keep).count(TrialScheduler.CONTINUE) == kept
    assert decisions("median", *reports, min_samples=1) == ["CONTINUE"] + ["STOP"] * 5


def test_median_forgets_epochs_that_a_restart_discarded() -> None:
    others = [(name, epoch, 0.5) for name in "bcd" for epoch in (1, 2)]
    reports = [*others, ("a", 1, 0.4), ("a", 2, 0.1), ("a", 1, 0.4), ("a", 2, 0.3)]
    assert decisions("median", *reports) == ["CONTINUE"] * 10
    # By its first attempt it would go on.
    lost = [*others, ("a", 1, 0.1), ("a", 1, 0.9)]
    assert decisions("median", *lost)[-1] == "STOP"


def test_asha_continues_a_trial_that_reports_nan() -> None:
    assert decisions("asha", ("a", 1, 0.2), ("b", 1, math.nan)) == ["CONTINUE", "CONTINUE"]


@pytest.mark.parametrize("flags", [(), ("--early-stopping", "asha")])
def test_a_resumed_run_keeps_its_early_stopping_settings(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    table = {"name": "asha", "grace": 2}
    asked = loading.load(None, {}).as_json()
    (tmp_path / "q").mkdir()
    (tmp_path / "q/experiment.json").write_text(json.dumps({**asked, "early_stopping": table}))
    kept = Journal(tmp_path / "q", Record("q", "loss", "min", 0))
    kept.append("run", versions={})
    kept.close()
    arguments = tune.parser().parse_args(["--resume", "q", *flags])
    resumed, _ = tune._experiment_and_folder(arguments, tmp_path)
    assert resumed.early_stopping == EarlyStopping("asha", {"grace": 2})
    arguments = tune.parser().parse_args(["--resume", "q", "--early-stopping", "median"])
    with pytest.raises(ExperimentError, match=r"its early_stopping is .* and cannot become"):
        tune._experiment_and_folder(arguments, tmp_path)
