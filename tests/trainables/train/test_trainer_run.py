"""A trainer in a thread, whose workers tell of reports and failures, without Ray."""

import queue
import threading
from collections.abc import Callable
from typing import Any

import pytest
from ray.exceptions import RayActorError
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError
from ray.util.queue import Empty

from trainables.contract import ProgramFailed, ProgramKilled, TrainableError
from trainables.train.trainer_run import TrainerRun, failure_of
from trainables.train.worker_loop import Failure, Report, Started

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


class Messages(queue.Queue[Any]):
    """A queue of Python's in the place of Ray's."""

    is_shut_down = False

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        try:
            return super().get(block, timeout)
        except queue.Empty:
            raise Empty from None

    def shutdown(self, force: bool = False) -> None:
        self.is_shut_down = force


class FakeTrainer:
    """A trainer that does what it is given."""

    def __init__(self, fit: Callable[[], None]) -> None:
        self.fit = fit


def test_reports_come_in_order_and_then_the_end() -> None:
    messages = Messages(1)

    def fit() -> None:
        for message in (Started(0, Actor()), Report({"loss": 2}, None), Report({"loss": 1}, None)):
            messages.put(message)

    run = TrainerRun(FakeTrainer(fit), messages, 1)
    reports = [run.next(), run.next()]
    assert [report.metrics["loss"] for report in reports if report] == [2, 1]
    assert run.next() is None
    run.end()
    assert messages.is_shut_down


def test_what_workers_told_is_the_reason_after_all_reports() -> None:
    messages = Messages(1)

    def fit() -> None:
        messages.put(Report({"loss": 2}, None))
        messages.put(RAISED)
        raise WorkerGroupError("", {1: LOST})

    run = TrainerRun(FakeTrainer(fit), messages, 2)
    assert run.next() is not None
    with pytest.raises(ProgramFailed, match=r"^worker 2 of 2: ValueError: the data is of"):
        run.next()
    run.end()


def test_workers_are_killed_and_what_they_tell_meanwhile_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    messages, killed = Messages(1), threading.Event()
    monkeypatch.setattr("ray.kill", lambda worker: killed.set())

    def fit() -> None:
        messages.put(Started(0, Actor()))
        messages.put(Report({"loss": 2}, None))
        killed.wait()
        for _ in range(3):  # more than the queue holds
            messages.put(Report({"loss": 1}, None))

    run = TrainerRun(FakeTrainer(fit), messages, 1)
    run.end()
    assert messages.is_shut_down
    assert not run._thread.is_alive()
