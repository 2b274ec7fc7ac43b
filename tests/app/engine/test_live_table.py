"""The table of a run that goes on, drawn for terminals of several sizes."""

import io
from typing import Any

import pytest
from rich.console import Console

from app.engine.live_table import RunTable
from app.engine.plan import Plan
from app.engine.time_left import TimeLeft
from tests.support.plans import Clock, apply, epoch, plan

SIZES = [(80, 24), (200, 60), (40, 10)]
SIX = {name: {"type": "continuous", "low": 0.0, "high": 1.0} for name in "abcdef"}
ERROR = "ValueError: the loss is not a number any more, as the step was too long (mine.py, line 12)"


def searched(trials: int, *, running: int = 3, **changes: Any) -> Plan:
    """A run in which trial 2 is best, some failed and some were stopped."""
    going_on = plan(num_samples=max(trials, 300), epochs=6, **changes)
    names = list(going_on.experiment.space)
    for number in range(1, trials + 1):
        trial_id = f"{number:03d}"
        config = dict.fromkeys(names, 0.000123456 * number)
        apply(going_on.record, "trial", trial_id, config=config, leg=1)
        for reached in range(1, 4):
            value = reached / 10 + (5 if number == 2 else 0)
            apply(going_on.record, "epoch", trial_id, **epoch(reached, value))
        if number <= trials - running:
            status, rule = ("failed", None) if number % 5 == 4 else ("stopped", "median")
            error = ERROR if status == "failed" else None
            apply(going_on.record, "end", trial_id, status=status, error=error, rule=rule)
    return going_on


def drawn(going_on: Plan, width: int, height: int, *, encoding: str = "utf-8") -> list[str]:
    """The lines of the table in a terminal of that size."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=stream, width=width, height=height, color_system=None)
    with console.capture() as captured:
        console.print(RunTable(going_on, TimeLeft(going_on, Clock())))
    return captured.get().splitlines()


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("trials", [3, 50, 300])
def test_running_trials_and_the_best_are_in_sight(trials: int, width: int, height: int) -> None:
    lines = drawn(searched(trials, running=min(3, trials - 2) or 1), width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    rows = [line.split()[0] for line in lines if line[:3].isdigit()]
    running = [f"{trials - before:03d}" for before in range(min(3, trials - 2))]
    assert rows[: len(running)] == running
    assert rows[len(running)] == "002"
    newest = [int(row) for row in rows[len(running) + 1 :]]
    assert newest == sorted(newest, reverse=True)
    assert any(line.startswith("best: loss 5.3 in epoch 3 of trial 002") for line in lines)


def test_trials_without_a_row_are_counted() -> None:
    lines = drawn(searched(300), 80, 24)
    rows = [line for line in lines if line[:3].isdigit() and " more: " not in line]
    (more,) = (line for line in lines if " more: " in line)
    assert more.startswith(f"{300 - len(rows)} more: ")
    assert len(lines) == 24
    assert not any(" more: " in line for line in drawn(searched(9), 80, 24))


def test_parameters_keep_their_width_or_are_counted() -> None:
    lines = drawn(searched(50, space=SIX), 80, 24)
    assert lines[1].split() == ["trial", "a", "b", "c", "d", "epoch", "loss", "state"]
    assert any(line.split()[:3] == ["050", "0.006173", "0.006173"] for line in lines)
    assert any(line.endswith("; 2 parameters not shown") for line in lines)
    assert "curve" in drawn(searched(50, space=SIX), 200, 60)[1]


def test_names_are_broken_before_columns_are_left_out() -> None:
    name = "weight_decay_of_the_last_layer"
    space = {name: {"type": "continuous", "low": 0.0, "high": 1.0}, **SIX}
    lines = drawn(searched(3, running=1, space=space), 110, 24)
    assert any(line.split()[:2] == ["trial", "layer"] for line in lines)
    assert "not shown" not in "".join(lines)


def test_sentences_below_name_failures_and_what_was_stopped() -> None:
    lines = drawn(searched(50, early_stopping="median"), 200, 60)
    assert lines[-2:] == [
        f"failed: trial 044 and 8 others like it: {ERROR}",
        "early stopping (median) stopped 38 trials, last trial 047 after epoch 3; 114 epochs saved",
    ]


def test_sentences_are_broken_at_blanks() -> None:
    words = [word for line in drawn(searched(50), 80, 24) for word in line.split()]
    assert set(ERROR.split()) <= set(words)


def test_sentences_that_have_no_room_are_seen_to_be_cut() -> None:
    lines = drawn(searched(300, early_stopping="median"), 200, 8)
    assert not any("epochs saved" in line for line in lines)
    assert lines[-1].endswith("line 12) …")


def test_a_terminal_without_blocks_has_no_curve() -> None:
    assert "curve" in drawn(searched(3, running=1), 80, 24)[1]
    shown = "\n".join(drawn(searched(3, running=1), 80, 24, encoding="latin-1"))
    assert "curve" not in shown
    assert shown.isascii()


def test_a_run_before_its_first_trial_is_one_line_and_its_best() -> None:
    assert drawn(plan(), 80, 24) == [
        "own-1: 0 of 3 trials done, 0 s elapsed",
        "best: none yet",
    ]


@pytest.mark.parametrize("height", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("width", [1, 10, 30])
def test_nothing_leaves_the_smallest_terminal(width: int, height: int) -> None:
    lines = drawn(searched(50, space=SIX), width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
