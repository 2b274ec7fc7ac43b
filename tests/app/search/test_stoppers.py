"""Stoppers: target, patience, convergence and time budget end a run."""

from typing import Any

from app.engine.outcome import why_no_best
from app.experiment import schema
from app.run.record import Record
from app.run.status import RunStatus
from app.search.stoppers import Ending, apply_stoppers


def ended_with(*values: float, **asked: Any) -> str | None:
    """The reason that ends a run of 10 s whose trials ended with these values, in this order."""
    record = Record("q", "loss", "min", 0)
    for number, value in enumerate(values, 1):
        told = {"trial_id": f"{number:03d}", "run_seconds": 10.0}
        record.apply({"event": "trial", "config": {}, "leg": 1, **told})
        metrics = {"seconds": 1.0, "checkpoint": None, "metrics": {"loss": value}}
        record.apply({"event": "epoch", "epoch": 1, **metrics, **told})
        record.apply({"event": "end", "status": "completed", "error": None, **told})
    space = {"x": {"type": "integer", "low": 0, "high": 9}}
    table = {"name": "q", "trainable": "mnist", "metric": "loss", "mode": "min", "space": space}
    ending = apply_stoppers(schema.from_table({**table, **asked}), record, 10.0)
    return None if ending is None else ending.reason


def test_a_run_goes_on_while_no_stopper_applies() -> None:
    assert ended_with(0.5, 0.5, 0.5) is None
    assert ended_with(0.5, target=0.4, patience=1, time_budget=11, convergence=0.01) is None


def test_a_target_reached_comes_before_a_time_budget_spent() -> None:
    reason = "loss 0.25 reached its target of 0.4"
    assert ended_with(0.5, 0.25, target=0.4, time_budget=1) == reason


def test_a_run_ends_when_its_time_budget_is_spent() -> None:
    assert ended_with(time_budget=10) == "its time budget of 10 s is spent"


def test_patience_counts_the_trials_since_the_best() -> None:
    assert ended_with(0.5, 0.6, 0.4, 0.7, patience=2) is None
    reason = "2 trials in a row ended without a better loss"
    assert ended_with(0.5, 0.6, 0.4, 0.7, 0.8, patience=2) == reason


def test_patience_counts_failed_trials() -> None:
    record = Record("q", "loss", "min", 0)
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
        ending = apply_stoppers(asked, record, 10.0)
        reasons.append(None if ending is None else ending.reason)
    assert reasons == [None, None, "2 trials in a row ended without a better loss"]


def test_convergence_ends_a_run_whose_best_value_hardly_improves() -> None:
    small = (0.5, 0.4, 0.3999, 0.3998, 0.3997, 0.3996)
    assert ended_with(*small, convergence=0.01) is None
    assert ended_with(*small, 0.3995, convergence=0.01) == (
        "the last 5 trials improved loss by less than 0.01 of it"
    )


def test_a_run_that_ended_before_any_trial_reported_says_why() -> None:
    ending = Ending(RunStatus.COMPLETED, "its time budget of 1 s is spent")
    assert why_no_best(Record("q", "loss", "min", 0), ending) == (
        "the run ended before any trial reported loss: its time budget of 1 s is spent"
    )
