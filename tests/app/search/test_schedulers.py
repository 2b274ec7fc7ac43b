"""Early-stopping rules by name, and criteria that end a run."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler

from app import tune
from app.engine.runner import _why_none
from app.experiment import loading, schema
from app.experiment.errors import ExperimentError
from app.experiment.result_keys import CONTROL
from app.run.journal import Journal
from app.run.record import Record
from app.run.status import RunStatus, TrialStatus
from app.run.trial import Epoch
from app.search import schedulers
from app.search.resumed_scheduler import Informed
from app.search.schedulers import EPOCH
from app.search.successive_halving import Halving

EPOCHS = 4


def finished(*finals: float) -> Record:
    """A run of one trial after another, each coming down to its final loss."""
    record = Record("q", "loss", "min", 0)
    events: list[dict[str, Any]] = [{"event": "run", "versions": {}, "run_seconds": 0.0}]
    for number, final in enumerate(finals, 1):
        name = f"{number:03d}"
        started = {"event": "trial", "trial_id": name, "config": {}, "leg": 1}
        events.append({**started, "run_seconds": 1.0})
        for epoch in range(1, EPOCHS + 1):
            events.append(
                {
                    "event": "epoch",
                    "trial_id": name,
                    "epoch": epoch,
                    "metrics": {"loss": final + 1 / epoch},
                    "seconds": 1.0,
                    "run_seconds": 1.0,
                    "checkpoint": None,
                }
            )
    for event in events:
        record.apply(event)
    return record


@pytest.mark.parametrize("rule", ["median", "asha"])
def test_a_rule_knows_what_was_trained_before_the_run_was_resumed(rule: str) -> None:
    record = finished(0.0, 0.1, 0.2, 0.3, 0.05)
    for trial in list(record.trials.values())[:4]:
        trial.status = TrialStatus.COMPLETED
    record.trials["005"].history = record.trials["005"].history[:1]

    def verdict(trial_id: str, epoch: int, loss: float) -> str:
        informed = Informed(schedulers.RULES[rule](EPOCHS), record)
        informed.set_search_properties("loss", "min")
        trial: Any = Asked(f"tune-{trial_id}", {CONTROL: {"trial_id": trial_id}})
        informed.on_trial_add(None, trial)
        return informed.on_trial_result(None, trial, {EPOCH: epoch, "loss": loss})

    assert verdict("006", 1, 9.0) == TrialScheduler.STOP
    assert verdict("006", 1, 1.0) == TrialScheduler.CONTINUE
    # The fifth trial was interrupted after a good epoch, by which it is still known.
    assert verdict("005", 2, 0.5) == TrialScheduler.CONTINUE
    record.trials["005"].history[0] = Epoch(1, {"loss": 9.0})
    assert verdict("005", 2, 9.0) == TrialScheduler.STOP


@dataclass(frozen=True)
class Asked:
    """What a rule asks of one of Tune's trials."""

    trial_id: str
    config: dict[str, Any]

    def __hash__(self) -> int:
        return hash(self.trial_id)


@pytest.mark.ray
@pytest.mark.timeout(600)
@pytest.mark.parametrize("rule", ["median", "asha"])
def test_a_rule_saves_epochs_and_says_how_many(
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
class Reporting:
    trial_id: str


def judged(mode: str, *reports: tuple[str, int, float]) -> list[str]:
    """What the halving rule says to each report, by trial, epoch and value."""
    return judged_by(Halving(EPOCH, keep=1 / 3), mode, *reports)


def judged_by(rule: TrialScheduler, mode: str, *reports: tuple[str, int, float]) -> list[str]:
    """What a rule says to each report, by trial, epoch and value."""
    rule.set_search_properties("value", mode)
    trials = {name: Reporting(name) for name, _, _ in reports}
    return [
        rule.on_trial_result(None, trials[name], {EPOCH: epoch, "value": value})  # type: ignore[arg-type]
        for name, epoch, value in reports
    ]


@pytest.mark.parametrize(("mode", "sign"), [("min", 1), ("max", -1)])
def test_halving_goes_on_with_the_best_third_of_every_epoch(mode: str, sign: int) -> None:
    firsts = [("a", 1, 0.5), ("b", 1, 0.4), ("c", 1, 0.3), ("d", 1, 0.35), ("e", 1, 0.45)]
    reports = [*firsts, ("c", 2, 0.2), ("d", 2, 0.25)]
    said = judged(mode, *((name, epoch, sign * value) for name, epoch, value in reports))
    # Where d comes a third of four is one ahead; where e comes there are three.
    assert said == ["CONTINUE", "CONTINUE", "CONTINUE", "CONTINUE", "STOP", "CONTINUE", "CONTINUE"]


def test_halving_stops_what_is_behind_with_more_epochs() -> None:
    assert judged("min", ("slow", 1, 0.9), ("quick", 1, 0.2), ("slow", 2, 0.5)) == [
        "CONTINUE",
        "CONTINUE",
        "STOP",
    ]


def test_halving_counts_a_trial_by_its_best_epoch() -> None:
    assert judged("min", ("a", 1, 0.2), ("b", 1, 0.1), ("b", 2, 0.9), ("a", 2, 0.15))[2] == (
        "CONTINUE"
    )


def test_halving_forgets_an_attempt_that_was_thrown_away() -> None:
    # The process of a is lost after its second epoch, and it begins again.
    reports = [("a", 1, 0.9), ("a", 2, 0.1), ("a", 1, 0.9), ("b", 1, 0.3), ("a", 2, 0.8)]
    assert judged("min", *reports) == ["CONTINUE"] * 4 + ["STOP"]


def warming_up(rate: float, epoch: int) -> float:
    """A loss whose best rate, the lowest, has the worst of all in its first two epochs."""
    return 9.0 - 50 * rate if epoch <= 2 else rate + 1 / epoch


@pytest.mark.parametrize("rule", ["asha", "median"])
@pytest.mark.parametrize("grace", [0, 2, 3])
def test_a_grace_keeps_what_warms_up(rule: str, grace: int) -> None:
    scheduler = schedulers.RULES[rule](5, grace=grace)
    scheduler.set_search_properties("value", "min")
    verdict = TrialScheduler.CONTINUE
    for rate in (0.1, 0.08, 0.06, 0.04, 0.001):
        trial: Any = Reporting(str(rate))
        for epoch in range(1, 6):
            result = {EPOCH: epoch, "value": warming_up(rate, epoch)}
            verdict = scheduler.on_trial_result(None, trial, result)  # type: ignore[arg-type]
            if verdict == TrialScheduler.STOP:
                break
    assert verdict == (TrialScheduler.CONTINUE if grace else TrialScheduler.STOP)


def test_a_grace_does_not_outlive_what_was_thrown_away() -> None:
    for name in ("asha", "median"):
        others = [(other, 2, 0.5) for other in "bcd"]
        # In the second of its epochs a is lost and begins again: 0.1 is gone, in its grace too.
        reports = [*others, ("a", 2, 0.1), ("a", 1, 0.9), ("a", 2, 0.8)]
        said = judged_by(schedulers.RULES[name](EPOCHS, grace=1), "min", *reports)
        assert said[-1] == TrialScheduler.STOP


def test_a_rule_keeps_as_large_a_part_as_is_asked_for() -> None:
    reports = [(str(number), 1, float(number)) for number in range(6)]
    for keep, kept in ((1 / 3, 1), (0.99, 6)):
        said = judged_by(schedulers.RULES["asha"](EPOCHS, keep=keep), "min", *reports)
        assert said.count(TrialScheduler.CONTINUE) == kept
    said = judged_by(schedulers.RULES["median"](EPOCHS, min_samples=1), "min", *reports)
    assert said == ["CONTINUE"] + ["STOP"] * 5


def test_the_median_rule_forgets_an_attempt_that_was_thrown_away() -> None:
    others = [(name, epoch, 0.5) for name in "bcd" for epoch in (1, 2)]
    reports = [*others, ("a", 1, 0.4), ("a", 2, 0.1), ("a", 1, 0.4), ("a", 2, 0.3)]
    assert judged_by(schedulers.RULES["median"](EPOCHS), "min", *reports) == ["CONTINUE"] * 10
    # By its first attempt it would go on.
    lost = [*others, ("a", 1, 0.1), ("a", 1, 0.9)]
    assert judged_by(schedulers.RULES["median"](EPOCHS), "min", *lost)[-1] == "STOP"


def test_halving_leaves_what_reports_no_number_to_others() -> None:
    assert judged("min", ("a", 1, 0.2), ("b", 1, math.nan)) == ["CONTINUE", "CONTINUE"]


def ended_with(*values: float, **asked: Any) -> str | None:
    """Why a run would end whose trials ended with these values, in this order, after 10 s."""
    record = finished()
    for number, value in enumerate(values, 1):
        told = {"trial_id": f"{number:03d}", "run_seconds": 10.0}
        record.apply({"event": "trial", "config": {}, "leg": 1, **told})
        metrics = {"seconds": 1.0, "checkpoint": None, "metrics": {"loss": value}}
        record.apply({"event": "epoch", "epoch": 1, **metrics, **told})
        record.apply({"event": "end", "status": "completed", "error": None, **told})
    space = {"x": {"type": "integer", "low": 0, "high": 9}}
    table = {"name": "q", "trainable": "mnist", "metric": "loss", "mode": "min", "space": space}
    ending = schedulers.ending(schema.from_table({**table, **asked}), record, 10.0)
    return None if ending is None else ending.reason


def test_a_run_goes_on_where_nothing_ends_it() -> None:
    assert ended_with(0.5, 0.5, 0.5) is None
    assert ended_with(0.5, target=0.4, patience=1, time_budget=11, convergence=0.01) is None


def test_a_run_ends_at_its_target_and_says_so_before_anything_else() -> None:
    reason = "loss 0.25 reached its target of 0.4"
    assert ended_with(0.5, 0.25, target=0.4, time_budget=1) == reason


def test_a_run_ends_when_its_time_is_spent() -> None:
    assert ended_with(time_budget=10) == "its time budget of 10 s is spent"


def test_patience_counts_the_trials_since_the_best() -> None:
    assert ended_with(0.5, 0.6, 0.4, 0.7, patience=2) is None
    reason = "2 trials in a row ended without a better loss"
    assert ended_with(0.5, 0.6, 0.4, 0.7, 0.8, patience=2) == reason


def test_patience_counts_failed_trials() -> None:
    record = finished()
    space = {"x": {"type": "integer", "low": 0, "high": 9}}
    table = {"name": "q", "trainable": "mnist", "metric": "loss", "mode": "min", "space": space}
    asked = schema.from_table({**table, "patience": 2})
    reasons = []
    for number, status in enumerate(("completed", "failed", "failed"), 1):
        told = {"trial_id": f"{number:03d}", "run_seconds": 10.0}
        record.apply({"event": "trial", "config": {}, "leg": 1, **told})
        epoch = {"seconds": 1.0, "checkpoint": None, "metrics": {"loss": 0.5 - number / 10}}
        record.apply({"event": "epoch", "epoch": 1, **epoch, **told})
        record.apply({"event": "end", "status": status, "error": None, **told})
        ending = schedulers.ending(asked, record, 10.0)
        reasons.append(None if ending is None else ending.reason)
    assert reasons == [None, None, "2 trials in a row ended without a better loss"]


def test_a_search_converged_where_trials_improve_the_best_by_next_to_nothing() -> None:
    small = (0.5, 0.4, 0.3999, 0.3998, 0.3997, 0.3996)
    assert ended_with(*small, convergence=0.01) is None
    assert ended_with(*small, 0.3995, convergence=0.01) == (
        "the last 5 trials improved loss by less than 0.01 of it"
    )


def test_a_run_that_ended_before_any_trial_reported_says_why() -> None:
    ending = schedulers.Ending(RunStatus.COMPLETED, "its time budget of 1 s is spent")
    assert _why_none(Record("q", "loss", "min", 0), ending) == (
        "the run ended before any trial reported loss: its time budget of 1 s is spent"
    )


@pytest.mark.parametrize("flags", [(), ("--early-stopping", "asha")])
def test_a_resumed_run_keeps_the_settings_of_its_rule(
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
    resumed, _ = tune._asked(arguments, tmp_path)
    assert (resumed.early_stopping, resumed.stopping) == ("asha", {"grace": 2})
    arguments = tune.parser().parse_args(["--resume", "q", "--early-stopping", "median"])
    with pytest.raises(ExperimentError, match=r"its early_stopping is .* and cannot become"):
        tune._asked(arguments, tmp_path)
