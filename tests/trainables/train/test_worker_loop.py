"""What each of Ray Train's workers runs, in this process."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.train import Checkpoint
from ray.train.v2._internal.execution import context as ray_context

from trainables.contract import TrainableError
from trainables.train import worker_loop
from trainables.train.worker_loop import Failure, Report, ReportSender, Started, WorkerLoop


class Messages(list[Any]):
    """What a worker told."""

    def put(self, message: Any) -> None:
        self.append(message)


@pytest.fixture
def train_context(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Ray Train's context of worker 1, outside of Ray."""
    context = SimpleNamespace(get_world_rank=lambda: 1, checkpoint=None)
    monkeypatch.setattr("ray.train.get_context", lambda: context)
    monkeypatch.setattr(ray_context, "get_train_context", lambda: context)
    monkeypatch.setattr("ray.get_runtime_context", lambda: SimpleNamespace(current_actor="actor"))
    return context


def loop(function: Callable[[Any], None], checkpoint: Checkpoint | None = None) -> WorkerLoop:
    trainable = SimpleNamespace(function=function)
    return WorkerLoop(trainable, {"lr": 0.1}, Messages(), checkpoint, log=None)


def test_the_function_is_called_with_the_trials_checkpoint(
    train_context: Any, tmp_path: Path
) -> None:
    called: list[Any] = []
    checkpoint = Checkpoint(str(tmp_path))
    worker = loop(called.append, checkpoint)
    worker()
    assert called == [{"lr": 0.1}]
    assert train_context.checkpoint is checkpoint
    assert worker.messages == [Started(1, "actor")]


@pytest.mark.parametrize(
    ("error", "sentence", "waits"),
    [
        (TrainableError("the data is gone"), "the data is gone", False),
        (ValueError("no such layer"), "ValueError: no such layer (", False),
        (RuntimeError("shapes differ"), "RuntimeError: shapes differ (", False),
        (RuntimeError("[gloo] Connection closed by peer"), "RuntimeError: [gloo] Conn", True),
    ],
)
def test_an_exception_is_told_and_waits_where_another_worker_may_be_gone(
    train_context: Any,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    sentence: str,
    waits: bool,
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)

    def raising(config: Any) -> None:
        raise error

    worker = loop(raising)
    with pytest.raises(type(error)):
        worker()
    (told,) = worker.messages[1:]
    assert isinstance(told, Failure)
    assert told.sentence.startswith(sentence)
    assert told.is_refusal is isinstance(error, TrainableError)
    assert waited == ([worker_loop.SETTLE_S] if waits else [])


def test_a_report_is_that_of_the_first_worker() -> None:
    messages = Messages()
    ReportSender(messages).after_report(None, [{"loss": 1}, {"loss": 2}], None)
    assert messages == [Report({"loss": 1}, None)]
