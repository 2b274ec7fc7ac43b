"""Why a trial was given up, told apart by what Tune and the trial's log say."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from app import experiment
from app.bookkeeping import Bookkeeper
from app.journal import Journal, Record

HUNG = ["an epoch", "Timeout (0:00:05)!", "Thread 0x00007f (most recent call first):"]


@pytest.mark.parametrize(
    ("flags", "text", "log", "why"),
    [
        ({}, "ray.exceptions.ActorDiedError: gone", [], "its process was lost: ray.exceptions."),
        ({}, "ActorDiedError: gone", HUNG, "its process was lost: ActorDiedError: gone"),
        (
            {"step_timeout": 5.0},
            "ActorDiedError: gone",
            HUNG,
            "it hung: an epoch took longer than 5",
        ),
        (
            {"step_timeout": 5.0},
            "ActorDiedError: gone",
            [*HUNG, "it went on after all"],
            "its process was lost: ActorDiedError: gone",
        ),
        ({}, "RayTaskError(ValueError)\nValueError: too far", [], "ValueError: too far"),
        ({}, "  File ray::train\nValueError: cannot save", [], "ValueError: cannot save"),
        (
            {},
            "ActorDiedError: the node was running low on memory\nray::train\nRefer to",
            [],
            "its process was ended because the machine ran out of memory",
        ),
        (
            {},
            "OutOfMemoryError: killed",
            [],
            "its process was ended because the machine ran out of",
        ),
    ],
)
def test_each_way_to_fail_has_its_own_sentence(
    tmp_path: Path, flags: dict[str, Any], text: str, log: Sequence[str], why: str
) -> None:
    journal = Journal(tmp_path, Record("q", "loss", "min", 0))
    keeper = Bookkeeper(
        journal, experiment.load(None, flags), lambda event, trial: None, lambda: None
    )
    assert keeper._why(text, log).startswith(why)
    journal.close()
