"""Output of workers on its way to the log: whole lines, and the last output of lost ones."""

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, GetTimeoutError

from trainables.data_parallel import handles
from trainables.data_parallel.worker import Reply, TrialContext
from trainables.data_parallel.worker_group import WorkerLost
from trainables.errors.trial_log import Lines, Printed, read_rest


class Pieces(io.RawIOBase):
    """Notes each write."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self.written.append(bytes(content))
        return len(content)


def test_what_is_printed_at_once_is_written_at_once() -> None:
    pieces = Pieces()
    stream = Lines(io.BufferedWriter(pieces), encoding="utf-8")
    print("one", 1, file=stream)
    print("two\nlines", file=stream)
    print("not yet", end="", file=stream)
    assert pieces.written == [b"one 1\n", b"two\nlines\n"]
    stream.flush()
    assert pieces.written[2:] == [b"not yet"]


def test_the_rest_is_what_was_not_heard_and_nothing_stays(tmp_path: Path) -> None:
    file = tmp_path / "of-worker/printed"
    file.parent.mkdir()
    file.write_bytes(b"sent\nnot sent\n")
    assert read_rest(file, len(b"sent\n")) == b"not sent\n"
    assert list(tmp_path.iterdir()) == []


PRINTED = Printed(b"an epoch\n", "node", Path("printed"))


@pytest.fixture
def actor(monkeypatch: pytest.MonkeyPatch) -> Callable[..., handles.ActorHandle]:
    """A worker that answers so in turn, and whose node gives so the rest of what it printed."""

    def working(answers: list[Any], left: Any = b"") -> handles.ActorHandle:
        coming = [*answers, left]

        def get(reference: Any, timeout: float | None = None) -> Any:
            answer = coming.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr("ray.get", get)
        monkeypatch.setattr("ray.kill", lambda actor: None)
        monkeypatch.setattr(handles, "run_on_node", lambda node, *asked: (node, *asked))
        return handles.ActorHandle(
            SimpleNamespace(call=SimpleNamespace(remote=lambda *asked: asked))
        )

    return working


def test_what_a_worker_on_another_node_prints_comes_with_its_answer(
    actor: Callable[..., handles.ActorHandle], capfd: pytest.CaptureFixture[str]
) -> None:
    worker = actor([Reply("here"), Reply(1, PRINTED)])
    assert [worker.call("address"), worker.call("step", 1)] == ["here", 1]
    worker.end()
    assert capfd.readouterr().err == "an epoch\n"


@pytest.mark.parametrize(
    ("left", "log"),
    [
        (b"its last words\n", "an epoch\nits last words\n"),
        (GetTimeoutError("its node is lost, too"), "an epoch\n"),
    ],
)
def test_the_last_words_of_a_lost_worker_are_told_once(
    actor: Callable[..., handles.ActorHandle],
    capfd: pytest.CaptureFixture[str],
    left: Any,
    log: str,
) -> None:
    worker = actor([Reply(None, PRINTED), ActorDiedError()], left)
    worker.call("step", 1)
    with pytest.raises(WorkerLost):
        worker.call("step", 2)
    worker.end()
    worker.end()
    assert capfd.readouterr().err == log


@pytest.mark.parametrize("is_with_first", [True, False])
def test_a_worker_on_another_node_has_no_part_in_the_log(is_with_first: bool) -> None:
    storage: Any = SimpleNamespace(is_with_first=is_with_first)
    context = TrialContext({"lr": 0.1}, Path("trial"), Path("log"), storage).on_this_node()
    found = (context.trial_folder, context.log, context.is_remote)
    assert found == ((Path("trial"), Path("log"), False) if is_with_first else (None, None, True))
