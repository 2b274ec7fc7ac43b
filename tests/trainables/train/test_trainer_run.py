"""Reasons for which a trial of several workers fails, by what its workers told."""

from typing import Any

import pytest
from ray.exceptions import RayActorError
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

from trainables.contract import ProgramFailed, ProgramKilled, TrainableError
from trainables.train.trainer_run import failure_of
from trainables.train.worker_loop import Failure, Started

LOST = RuntimeError("its process is gone")


class Actor:
    """Handle on a worker."""

    class _actor_id:
        @staticmethod
        def hex() -> str:
            return "ab"


STARTED: dict[int, Any] = {1: Started(1, Actor()).actor}
RAISED = Failure(1, "ValueError: the data is of last year (mine.py, line 3, in train)", False)
REFUSED = Failure(0, "the data is gone", True)


@pytest.mark.parametrize(
    ("error", "told", "kind", "message", "actor_id"),
    [
        (RayActorError(), [], ProgramKilled, "Ray Train's controller was lost", None),
        (
            WorkerGroupError("", {1: LOST}),
            [],
            ProgramKilled,
            "worker 2 of 3 was lost",
            "ab",
        ),
        (WorkerGroupError("", {2: LOST}), [], ProgramKilled, "worker 3 of 3 was lost", None),
        # Who only found another gone is not the reason.
        (
            WorkerGroupError("", {0: LOST, 1: LOST}),
            [Failure(0, "RuntimeError: Connection closed by peer", False)],
            ProgramKilled,
            "worker 2 of 3 was lost",
            "ab",
        ),
        (
            WorkerGroupError("", {0: LOST, 1: LOST}),
            [RAISED, REFUSED],
            ProgramFailed,
            f"worker 2 of 3: {RAISED.sentence}",
            None,
        ),
        (WorkerGroupError("", {0: LOST}), [REFUSED], TrainableError, "the data is gone", None),
        (
            ControllerError(ValueError("no\nroom")),
            [],
            ProgramFailed,
            "Ray Train: Training failed due to controller error: no room",
            None,
        ),
    ],
)
def test_the_reason_is_who_was_lost_or_failed_first(
    error: Exception, told: list[Failure], kind: type, message: str, actor_id: str | None
) -> None:
    failure = failure_of(error, told, STARTED, 3)
    assert type(failure) is kind
    assert str(failure) == message
    assert getattr(failure, "actor_id", None) == actor_id
