"""Early stopping by name, and what a finished run says of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app import stopping, tune
from app.journal import Record

EPOCHS = 4


def finished(*finals: float) -> tuple[list[dict[str, Any]], Record]:
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
    return events, record


@pytest.mark.parametrize("rule", ["median", "asha"])
def test_a_rule_would_have_stopped_what_is_far_off(rule: str) -> None:
    events, record = finished(0.0, 0.1, 0.2, 5.0, 6.0, 0.05)
    saving = stopping.would_save(rule, events, record, EPOCHS)
    assert saving.keeps_best
    assert saving.of == 6 * EPOCHS
    # The two bad trials are over after one epoch each.
    assert saving.epochs >= 2 * (EPOCHS - 1)


def test_no_rule_saves_nothing() -> None:
    events, record = finished(0.0, 5.0, 6.0, 7.0)
    assert stopping.would_save("off", events, record, EPOCHS).epochs == 0


def test_a_best_trial_that_starts_badly_would_have_been_lost() -> None:
    events, record = finished(0.5, 0.4, 0.3, 0.2, 0.0)
    for event in events:
        if event["event"] == "epoch" and event["trial_id"] == "005" and event["epoch"] == 1:
            event["metrics"]["loss"] = 9.0
    assert not stopping.would_save("asha", events, record, EPOCHS).keeps_best


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
    assert capfd.readouterr().out.splitlines()[-1] == (
        f"early stopping ({rule}) saved {8 * 4 - trained} of 32 epochs"
    )
