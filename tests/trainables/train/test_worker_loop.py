"""What each of Ray Train's workers runs, in this process."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.train import Checkpoint
from ray.train.v2._internal.execution import context as ray_context

from trainables.contract import ProgramFailed, TrainableError
from trainables.train import worker_loop
from trainables.train.worker_loop import WorkerLoop


@pytest.fixture
def train_context(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Ray Train's context of a worker, outside of Ray."""
    context = SimpleNamespace(checkpoint=None)
    monkeypatch.setattr(ray_context, "get_train_context", lambda: context)
    return context


def loop(function: Callable[[Any], None], checkpoint: Checkpoint | None = None) -> WorkerLoop:
    return WorkerLoop(SimpleNamespace(function=function), {"lr": 0.1}, checkpoint, log=None)


def test_the_function_is_called_with_the_trials_checkpoint(
    train_context: Any, tmp_path: Path
) -> None:
    called: list[Any] = []
    checkpoint = Checkpoint(str(tmp_path))
    loop(called.append, checkpoint)()
    assert called == [{"lr": 0.1}]
    assert train_context.checkpoint is checkpoint


class Mine(TrainableError):
    """A refusal of a class that is not known where Ray Train unpickles it."""


@pytest.mark.parametrize(
    ("error", "kind", "sentence", "waits"),
    [
        (Mine("the data is gone"), TrainableError, "the data is gone", False),
        (ValueError("no such layer"), ProgramFailed, "ValueError: no such layer (", False),
        (RuntimeError("shapes differ"), ProgramFailed, "RuntimeError: shapes differ (", False),
        (SystemExit(3), ProgramFailed, "the process ended by itself with status 3 (", False),
        (
            RuntimeError("[gloo] Connection closed by peer"),
            ProgramFailed,
            "RuntimeError: [gloo] Connection closed by peer (",
            True,
        ),
    ],
)
def test_an_exception_is_a_sentence_and_waits_where_another_worker_may_be_gone(
    train_context: Any,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    kind: type[Exception],
    sentence: str,
    waits: bool,
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)

    def raising(config: Any) -> None:
        raise error

    with pytest.raises(TrainableError) as raised:
        loop(raising)()
    assert type(raised.value) is kind
    assert str(raised.value).startswith(sentence)
    assert waited == ([worker_loop.SETTLE_S] if waits else [])
