"""The order of runs in a list."""

from typing import Any

import pytest

from app.run.selection import select


def row(name: str, loss: float | None, mode: str = "min", seconds: float = 1.0) -> dict[str, Any]:
    best = None if loss is None else {"metrics": {"loss": loss}}
    fields = {"status": "completed", "experiment": "mnist", "seconds": seconds}
    return {"name": name, "metric": "loss", "mode": mode, "best": best, **fields}


UNREADABLE = {"name": "a", "status": "unreadable", "experiment": None}
ROWS = [
    row("d", 0.5),
    row("c", 0.25, seconds=9.0),
    row("b", None),
    UNREADABLE,
    row("e", 0.75, "max"),
]


@pytest.mark.parametrize(
    ("sort", "names"),
    [("began", "dcbae"), ("name", "abcde"), ("seconds", "cdbea"), ("best", "ecdba")],
)
def test_runs_are_sorted(sort: str, names: str) -> None:
    assert "".join(chosen["name"] for chosen in select(ROWS, sort=sort)) == names


def test_runs_are_chosen_by_status_and_experiment() -> None:
    assert [row["name"] for row in select(ROWS, status="unreadable")] == ["a"]
    assert len(select(ROWS, experiment="mnist", status="completed")) == 4
    assert select(ROWS, experiment="mnist", status="unreadable") == []
