"""Summaries of failed trials: their common traits, and the best value of one."""

from typing import Any

import pytest

from app.engine.outcome import NoBestError, failure_reason, why_no_best
from app.run.failure_summary import describe_failures, describe_lost_best, kind
from app.run.record import Record

FAILS = "MemoryError: does not fit (mine.py, line 3, in step)\nTraceback"


def trial(number: int, config: dict[str, Any], error: str | None = None) -> dict[str, Any]:
    status = "completed" if error is None else "failed"
    return {"trial_id": f"{number:03d}", "status": status, "config": config, "error": error}


def outcome(*trials: dict[str, Any]) -> dict[str, Any]:
    return {"trials": list(trials), "metric": "loss", "mode": "min", "best": None}


def of(name: str, failed: list[Any], others: list[Any]) -> dict[str, Any]:
    """A run whose trials failed for some values of a parameter, beside one that tells nothing."""
    values = [(value, FAILS) for value in failed] + [(value, None) for value in others]
    return outcome(
        *(
            trial(number, {name: value, "seen": number % 2 * 0.5}, error)
            for number, (value, error) in enumerate(values, 1)
        )
    )


@pytest.mark.parametrize(
    ("failed", "others", "told"),
    [
        ([0.001, 0.0046, 0.002], [0.01, 0.1], "3 of 5 trials failed: MemoryError (x 0.001 to 0.00"),
        ([512], [16, 32], "1 of 3 trials failed: MemoryError (x 512)"),
        (
            ["tanh", "relu", "tanh"],
            ["gelu"] * 3,
            "3 of 6 trials failed: MemoryError (x tanh, re",
        ),
        ([True, True], [False, False], "2 of 4 trials failed: MemoryError (x True)"),
        # They reach into each other; the failed ones are a part of what was tried.
        ([0.5, 0.9], [0.1, 0.6], "2 of 4 trials failed: MemoryError (x 0.5 to 0.9)"),
        # The values tell nothing.
        ([0.1, 0.9], [0.5, 0.6], "2 of 4 trials failed: MemoryError"),
        ([0.5], [0.1, 0.6], "1 of 3 trials failed: MemoryError"),
        ([1, 2], [], "2 of 2 trials failed: MemoryError"),
        ([1], [], "1 of 1 trial failed: MemoryError"),
    ],
)
def test_failures_are_counted_with_the_values_that_tell(
    failed: list[Any], others: list[Any], told: str
) -> None:
    (sentence,) = describe_failures(of("x", failed, others))
    assert sentence.startswith(told)
    assert sentence.endswith((")", "MemoryError"))


def test_each_kind_of_failure_is_told_with_its_values() -> None:
    trials = [trial(n, {"lr": n / 10}, f"loss became nan in epoch {n}") for n in (7, 8, 9)]
    trials += [trial(n, {"lr": n / 1000}, FAILS) for n in (1, 2)]
    trials += [trial(4, {"lr": 0.05}), trial(5, {"lr": 0.06, "other": 1})]
    assert describe_failures(outcome(*trials)) == [
        "5 of 7 trials failed: loss became nan (lr 0.7 to 0.9), 3 times;"
        " MemoryError (lr 0.001 to 0.002), twice"
    ]
    assert describe_failures(outcome(trial(1, {"lr": 0.1}))) == []


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory", "torch.OutOfMemoryError"),
        ("KeyboardInterrupt (mine.py, line 1, in step)", "KeyboardInterrupt"),
        ("ValueError: a: b (mine.py, line 1, in step), 3 times", "ValueError"),
        ("train.py ended with status 1: ValueError: no (train.py, line 3)", "ValueError"),
        ("worker 2 of 2: ValueError: no (mine.py, line 1, in step)", "ValueError"),
        ("loss became nan in epoch 12", "loss became nan"),
        (
            "the process ended by itself with status 3 (mine.py, line 1, in step)",
            "the process ended by itself with status 3",
        ),
        ("it hung: an epoch took longer than 5 s (mine.py, line 1, in step), 4 times", "it hung: "),
        ("", ""),
    ],
)
def test_failures_are_of_one_kind_whatever_else_they_say(error: str, told: str) -> None:
    assert kind(error).startswith(told)
    assert "mine.py" not in kind(error)


def record_of(*ends: tuple[str, list[float], str]) -> Record:
    """A run whose trials reported these losses and ended so."""
    record = Record("q", "loss", "min", 0)
    for name, losses, status in ends:
        told = {"trial_id": name, "run_seconds": 1.0}
        record.apply({"event": "trial", "config": {"lr": 0.1}, "leg": 1, **told})
        for epoch, loss in enumerate(losses, 1):
            fields = {
                "metrics": {"loss": loss},
                "seconds": 1.0,
                "checkpoint": f"tune/{name}/{epoch}",
            }
            record.apply({"event": "epoch", "epoch": epoch, **fields, **told})
        record.apply({"event": "end", "status": status, "error": FAILS, **told})
    return record


LOST = (
    "trial 001 failed in epoch 5 after the best value of all, 0.343 in epoch 3:"
    " python -m app.runs export q --trial 001"
)


def test_what_a_failed_trial_had_is_told_where_it_was_the_best_of_all() -> None:
    died = ("001", [0.9, 0.5, 0.343, 0.4], "failed")
    record = record_of(died, ("002", [0.5], "completed"), ("003", [], "failed"))
    assert record.best is not None
    assert record.best.trial_id == "002"
    assert describe_lost_best(record.as_json(), "q") == [LOST]
    assert record.trials["001"].checkpoints == {3: "tune/001/3", 4: "tune/001/4"}
    assert describe_lost_best(record_of(died, ("002", [0.3], "completed")).as_json(), "q") == []
    assert describe_lost_best(record_of(("001", [], "failed")).as_json(), "q") == []


def test_where_all_failed_what_the_best_had_is_told_too() -> None:
    record = record_of(("001", [0.9, 0.5, 0.343, 0.4], "failed"), ("002", [0.5], "failed"))
    why = "both trials failed: MemoryError: does not fit (mine.py, line 3, in step)"
    assert why_no_best(record, None) == why
    assert describe_lost_best(record.as_json(), "q") == [LOST]
    assert str(NoBestError(why, [LOST])) == f"{why}; {LOST}"
    assert failure_reason(NoBestError(why, [LOST])) == why
    record = record_of(("001", [], "failed"))
    assert why_no_best(record, None).startswith("the only trial failed: MemoryError: does not fit")


def test_where_all_failed_the_most_frequent_reasons_are_told_and_how_many_are_not() -> None:
    record = record_of(*((f"00{number}", [], "failed") for number in range(1, 7)))
    for trial, error in zip(record.trials.values(), "EDCDBA", strict=True):
        trial.error = f"{error}Error: no"
    assert why_no_best(record, None) == (
        "all 6 trials failed: DError: no; EError: no; CError: no; and for 2 other reasons"
    )


@pytest.mark.parametrize("best", [None, {"trial_id": "002", "metrics": {}}])
@pytest.mark.parametrize("history", [[], [{"epoch": 1, "loss": 0.5}]])
def test_of_a_run_that_keeps_less_only_what_it_has_is_told(
    best: dict[str, Any] | None, history: list[dict[str, Any]]
) -> None:
    failed = {**trial(1, {"lr": 0.1}, FAILS), "metrics": {"loss": 0.5}, "history": history}
    result = {**outcome({**failed, "epochs": 1}), "best": best}
    assert bool(describe_lost_best(result, "q")) == (best is None and bool(history))
