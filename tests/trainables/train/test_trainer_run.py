"""A trainer in a thread, and what became of its workers, without Ray."""

import queue
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayActorError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError
from ray.util.queue import Empty

from trainables.contract import ProgramFailed, ProgramKilled, TrainableError
from trainables.train.trainer_run import Report, ReportSender, TrainerRun, failure_of

LOST = WorkerHealthCheckFailedError("its process is gone", RayActorError("ab"))
RAISED = ProgramFailed("ValueError: the data is of last year (mine.py, line 3, in train)")
REFUSED = TrainableError("the data is gone")


@pytest.mark.parametrize(
    ("error", "kind", "message", "actor_id"),
    [
        (RayActorError(), ProgramKilled, "Ray Train's controller was lost", None),
        (WorkerGroupError("", {1: LOST}), ProgramKilled, "worker 2 of 3 was lost", "ab"),
        (WorkerGroupError("", {2: OSError()}), ProgramKilled, "worker 3 of 3 was lost", None),
        # Who only found another gone is not the reason.
        (
            WorkerGroupError("", {0: ProgramFailed("Connection closed by peer"), 1: LOST}),
            ProgramKilled,
            "worker 2 of 3 was lost",
            "ab",
        ),
        (WorkerGroupError("", {1: RAISED}), ProgramFailed, f"worker 2 of 3: {RAISED}", None),
        (WorkerGroupError("", {2: RAISED, 0: REFUSED}), TrainableError, "the data is gone", None),
        (
            ControllerError(ValueError("no\nroom")),
            ProgramFailed,
            "Ray Train: Training failed due to controller error: no room",
            None,
        ),
    ],
)
def test_the_reason_is_who_was_lost_or_failed(
    error: Exception, kind: type, message: str, actor_id: str | None
) -> None:
    failure = failure_of(error, 3)
    assert type(failure) is kind
    assert str(failure) == message
    assert getattr(failure, "actor_id", None) == actor_id


class Reports(queue.Queue[Any]):
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
    """A trainer of two workers that does what it is given."""

    scaling_config = SimpleNamespace(num_workers=2)

    def __init__(self, fit: Callable[[], None]) -> None:
        self.fit = fit


class Controller:
    """Ray Train's controller, which is aborted by its handle."""

    def __init__(self) -> None:
        self.is_aborted = threading.Event()
        self.abort = SimpleNamespace(remote=self.is_aborted.set)


def report(loss: float, controller: Controller | None = None) -> Report:
    return Report({"loss": loss}, None, controller)


def test_reports_come_in_order_and_then_the_end() -> None:
    reports = Reports(1)

    def fit() -> None:
        for loss in (2, 1):
            reports.put(report(loss))

    run = TrainerRun(FakeTrainer(fit), reports)
    assert [came.metrics["loss"] for came in (run.next(), run.next()) if came] == [2, 1]
    assert run.next() is None
    run.end()
    assert reports.is_shut_down


def test_what_a_worker_raised_comes_after_all_reports() -> None:
    reports = Reports(1)

    def fit() -> None:
        reports.put(report(2))
        raise WorkerGroupError("", {1: RAISED})

    run = TrainerRun(FakeTrainer(fit), reports)
    assert run.next() is not None
    with pytest.raises(ProgramFailed, match=r"^worker 2 of 2: ValueError: the data is of"):
        run.next()
    run.end()


def test_workers_are_ended_and_what_they_report_meanwhile_is_taken() -> None:
    reports, controller = Reports(1), Controller()

    def fit() -> None:
        reports.put(report(2, controller))
        controller.is_aborted.wait()
        for _ in range(3):  # more than the queue holds
            reports.put(report(1, controller))

    run = TrainerRun(FakeTrainer(fit), reports)
    assert run.next() is not None
    run.end()
    assert reports.is_shut_down
    assert not run._thread.is_alive()


def test_a_report_is_that_of_the_first_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    context, reports = SimpleNamespace(current_actor="controller"), Reports(1)
    monkeypatch.setattr("ray.get_runtime_context", lambda: context)
    ReportSender(reports).after_report(None, [{"loss": 1}, {"loss": 2}], None)
    assert reports.get() == Report({"loss": 1}, None, "controller")
