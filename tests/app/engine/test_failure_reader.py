"""Reasons of failures, read from what Tune and the trial's log say."""

from collections.abc import Sequence

import pytest

from app.engine.failure_reader import failure_reason

HUNG = [
    *("an epoch", "Timeout (0:00:05)!", "Thread 0x00007f (most recent call first):"),
    '  File "/home/u/ends.py", line 36 in helper',
]
RAYS = "ray::Mine.train() (pid=1)\n"
OURS = "trainables.errors.reason."
LOST = "its process was lost without a word: killed from outside, or for want of memory"
UNEXPECTED = (
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker"
    " exit detail: Worker "
)


@pytest.mark.parametrize(
    ("limit", "error", "log", "reason"),
    [
        (None, "ray.exceptions.ActorDiedError: gone", [], "its process was lost: ray.exceptions."),
        (None, "ActorDiedError: gone", HUNG, "its process was lost: ActorDiedError: gone"),
        (
            5.0,
            "ActorDiedError: gone",
            HUNG,
            "it hung: an epoch took longer than 5 s (ends.py, line 36, in helper)",
        ),
        (
            5.0,
            "ActorDiedError: gone",
            [*HUNG, "it went on after all"],
            "its process was lost: ActorDiedError: gone",
        ),
        (None, "RayTaskError(ValueError)\nValueError: too far", [], "ValueError: too far"),
        (None, "  File ray::train\nValueError: cannot save", [], "ValueError: cannot save"),
        (
            None,
            "ActorDiedError: the node was running low on memory\nray::train\nRefer to",
            [],
            "its process was ended because the machine ran out of memory",
        ),
        (None, f"{UNEXPECTED}unexpectedly exits with a connection error code 2. End…", [], LOST),
        (
            None,
            f"{UNEXPECTED}exits unexpectedly. Worker exits with an exit code 7.",
            [],
            "the process ended by itself with status 7",
        ),
        (
            None,
            f"{UNEXPECTED}unexpectedly exits with a connection error code 2. End…",
            ["epoch 1", "", "the process ended by itself with status 3 (mine.py, line 1, in step)"],
            "the process ended by itself with status 3 (mine.py, line 1, in step)",
        ),
        (
            None,
            f"{UNEXPECTED}unexpectedly exits with a connection error code 2. End…",
            ["Fatal Python error: Segmentation fault", "", '  File "/u/mine.py", line 2 in step'],
            "its process was ended by a segmentation fault (signal 11) (mine.py, line 2, in step)",
        ),
        (
            None,
            f"{RAYS}{OURS}TrialFailure: ValueError: no (mine.py, line 2, in step)",
            [],
            "ValueError: no (mine.py, line 2, in step)",
        ),
        (None, "NodeLost: 10.0.0.7 (ab12cd)", [], "its node 10.0.0.7 (ab12cd) was lost"),
        (
            None,
            "OutOfMemoryError: killed",
            [],
            "its process was ended because the machine ran out of",
        ),
    ],
)
def test_each_kind_of_failure_has_a_sentence(
    limit: float | None, error: str, log: Sequence[str], reason: str
) -> None:
    assert failure_reason(error, log, limit).startswith(reason)
