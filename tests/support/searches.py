"""Runs that were never trained: experiment, journal and outcome of a search, written at once.

Three trials at a time take five seconds for an epoch. A trial's loss depends on its `lr` and falls
with its epochs; every fourth trial is stopped, and every fifth fails.
"""

import heapq
import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.experiment.run_folder import JOURNAL
from app.experiment.schema import Experiment, from_table
from app.run.events import Event
from app.run.layout import EXPERIMENT
from app.run.result_file import RESULT
from app.run.store import new_record
from app.storage.files import replace_file

SPACE = {
    "lr": {"type": "continuous", "low": 0.001, "high": 0.1, "scale": "log"},
    "batch_size": {"type": "categorical", "values": [32, 64, 128]},
}
VERSIONS = {"python": "3.11.2", "ray": "2.60.0", "torch": "2.14.1", "optuna": "5.0.0"}
EPOCH_S = 5.0


def experiment(**keys: object) -> Experiment:
    table = {"trainable": "mnist", "metric": "average_test_loss", "mode": "min", "space": SPACE}
    return from_table({"name": "search", **table, **keys})


def write_search(
    folder: Path,
    trials: int,
    *,
    error: str = "boom",
    until_s: float = math.inf,
    **keys: Any,
) -> list[Event]:
    """Write a run of that many trials into a new folder, and return the events that are left.

    Args:
        folder: The run's folder.
        trials: How many trials it has.
        error: Why trials fail.
        until_s: Seconds of the run after which events are left.
        keys: Keys of its experiment.
    """
    asked = experiment(num_samples=trials, **keys)
    folder.mkdir(parents=True)
    record = new_record(folder, asked)
    all_events = list(_events(asked, error))
    events = [event for event in all_events if event["run_seconds"] < until_s]
    for event in events:
        record.apply(event)
    replace_file(folder / EXPERIMENT, json.dumps(asked.as_json()))
    replace_file(folder / JOURNAL, "".join(json.dumps(event) + "\n" for event in events))
    replace_file(folder / RESULT, json.dumps(record.as_json()))
    return all_events[len(events) :]


def _events(asked: Experiment, error: str) -> Iterator[Event]:
    """Yield the events in the order of their time."""
    yield {"event": "run", "versions": VERSIONS, "run_seconds": 0.0}
    draw = random.Random(0)
    free_at = [0.0] * asked.max_concurrent
    timed: list[Event] = []
    for number in range(1, asked.num_samples + 1):
        began = heapq.heappop(free_at)
        timed += _trial(asked, number, began, draw, error)
        heapq.heappush(free_at, timed[-1]["run_seconds"] + 0.01)
    yield from sorted(timed, key=lambda event: float(event["run_seconds"]))
    end = max(free_at) + 1
    yield {"event": "status", "status": "completed", "reason": None, "run_seconds": end}


def _trial(
    asked: Experiment, number: int, began: float, draw: random.Random, error: str
) -> Iterator[Event]:
    of_trial = {"trial_id": f"{number:03d}"}
    config = {"lr": 10 ** draw.uniform(-3, -1), "batch_size": draw.choice([32, 64, 128])}
    yield {"event": "trial", **of_trial, "config": config, "leg": 1, "run_seconds": began}
    status = "failed" if number % 5 == 0 else "stopped" if number % 4 == 0 else "completed"
    for epoch in range(1, (asked.epochs if status == "completed" else 2) + 1):
        began += EPOCH_S * draw.uniform(0.8, 1.2)
        loss = (1 + (math.log10(config["lr"]) + 1.7) ** 2) / (epoch + 1)
        metrics = {asked.metric: loss, "test_accuracy": 1 - loss / 5}
        told = {"epoch": epoch, "metrics": metrics, "seconds": EPOCH_S, "checkpoint": None}
        yield {"event": "epoch", **of_trial, **told, "run_seconds": began}
    why = error if status == "failed" else None
    rule = {"rule": "median"} if status == "stopped" else {}
    end = {"status": status, "error": why, **rule}
    yield {"event": "end", **of_trial, **end, "run_seconds": began + 0.2}
