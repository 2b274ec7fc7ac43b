"""Trials of several workers without Ray: the others are processes or fakes."""

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from ray import tune
from torch import nn

from tests.support.sound import CONFIG as LINE
from tests.support.sound import Sound
from tests.support.still_mnist import StillMnist
from trainables import check_parallel
from trainables.check import check_trainable
from trainables.contract import ProgramFailed, ProgramKilled, TrainableError
from trainables.data import Digits
from trainables.data_parallel.handles import start_processes
from trainables.data_parallel.process_group import ProcessGroup, process_group
from trainables.data_parallel.trainable import STATES, make_data_parallel
from trainables.data_parallel.worker import Failure
from trainables.data_parallel.worker_group import WorkerGroup, WorkerLost
from trainables.function.trainable import as_class

MNIST = {"lr": 0.05, "batch_size": 333, "momentum": 0.5, "seed": 0}


@pytest.fixture(scope="module")
def digits() -> Mapping[str, Digits]:
    return StillMnist.shared(None, False)


def built(kind: type[tune.Trainable], shared: Mapping[str, Any], **config: Any) -> Any:
    """A trial of that class, which Ray would give a folder in the user's home."""

    class Built(kind):  # type: ignore[misc, valid-type]
        def setup(self, config: dict[str, Any], **given: Any) -> None:
            super().setup(config, **(given or shared))

        def _setup_logdir(self) -> None:
            self._logdir = "/nowhere"

    return Built(config={**MNIST, **config})


@pytest.fixture(scope="module")
def two(digits: Mapping[str, Digits]) -> Iterator[Any]:
    """A trial of two workers, which is reset for each test."""
    trial = built(make_data_parallel(StillMnist, 2, start_processes), {"shared": digits})
    yield trial
    trial.stop()


def alone(digits: Mapping[str, Digits], **config: Any) -> Any:
    """A trial of one worker, in this process that is also one of two."""
    trial = built(StillMnist, digits, still=True, **config)
    trial.workers = ProcessGroup()
    return trial


def losses(trial: Any, epochs: int) -> list[float]:
    """The objective of each epoch."""
    return [trial.train()["average_test_loss"] for _ in range(epochs)]


@pytest.mark.parametrize("batch_size", [333, pytest.param(1999, marks=pytest.mark.nightly)])
def test_without_dropout_two_workers_compute_what_one_does(
    two: Any, digits: Mapping[str, Digits], batch_size: int
) -> None:
    # The last batch is two digits, one for each worker, or one, which leaves the other with none.
    one = alone(digits, batch_size=batch_size)
    theirs = losses(one, 2)  # before the other draws from this process's random numbers
    assert two.reset({**MNIST, "batch_size": batch_size, "still": True})
    assert losses(two, 2) == pytest.approx(theirs, abs=1e-7)
    for mine, other in zip(two.net.parameters(), one.net.parameters(), strict=True):
        assert torch.allclose(mine, other, rtol=0, atol=1e-12)


def test_workers_keep_the_same_weights_and_drop_out_what_they_like(two: Any) -> None:
    assert two.reset({**MNIST})
    first = losses(two, 1)
    mine, other = two._hash_all_weights()
    assert mine == other
    assert two.reset({**MNIST})
    assert losses(two, 1) == first
    assert two.reset({**MNIST, "seed": 1})
    assert losses(two, 1) != first


def test_two_workers_that_load_go_on_with_the_same_bits(two: Any, tmp_path: Path) -> None:
    assert two.reset({**MNIST})
    losses(two, 1)
    saved = two.save(str(tmp_path))
    straight = losses(two, 1)
    assert two.reset({**MNIST, "seed": 7})
    two.restore(saved)
    assert losses(two, 1) == straight


def test_one_worker_loads_what_two_have_saved_and_two_what_one_has(
    two: Any, digits: Mapping[str, Digits], tmp_path: Path
) -> None:
    assert two.reset({**MNIST, "still": True})
    losses(two, 1)
    saved = two.save(str(tmp_path / "two"))
    straight = losses(two, 1)
    one = alone(digits, seed=7)
    one.restore(saved)
    kept = one.save(str(tmp_path / "one"))
    assert not (tmp_path / "one" / STATES).exists()
    assert losses(one, 1) == pytest.approx(straight, abs=1e-7)
    two.restore(kept)
    assert losses(two, 1) == pytest.approx(straight, abs=1e-7)


def test_a_group_of_one_worker_changes_nothing() -> None:
    values, alone = torch.arange(3), ProcessGroup()
    for given in (alone.shard(values), alone.broadcast(values), alone.all_reduce(values)):
        assert torch.equal(given, values)


def test_shards_are_a_batch_and_differ_by_one_at_most() -> None:
    for size in range(9):
        batch = torch.arange(size)
        parts = [ProcessGroup(rank, 4).shard(batch) for rank in range(4)]
        assert torch.equal(torch.cat(parts), batch)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


class FakeHandle:
    """Handle on no worker: its answer comes, or is raised, once it may."""

    def __init__(self, answer: Any = None, *, waits: bool = False) -> None:
        self.answer = answer
        self.may = threading.Event()
        self.is_ended = False
        if not waits:
            self.may.set()

    def call(self, method: str, *arguments: Any) -> Any:
        self.may.wait()
        if self.is_ended:
            raise WorkerLost
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def end(self) -> None:
        if not self.may.is_set():
            self.is_ended = True
        self.may.set()


def raising(error: Exception, *after: FakeHandle) -> Callable[[], Any]:
    """The first worker's share, in which it fails once others are ended."""

    def share() -> None:
        for handle in after:
            handle.may.wait()
        raise error

    return share


CUT = RuntimeError("[/gloo/transport/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]")
RAISED = Failure.of(ValueError("the data is of last year"))


def test_all_answer_and_the_first_ones_result_is_given() -> None:
    group = WorkerGroup([FakeHandle(1), FakeHandle(2)])
    assert group.run(lambda: "mine", "step") == "mine"
    assert group.answers == [1, 2]
    group.end()


@pytest.mark.parametrize(
    ("answers", "kind", "message"),
    [
        ([RAISED, None], ProgramFailed, "worker 2 of 3: ValueError: the data is of last year"),
        ([None, WorkerLost()], ProgramKilled, "worker 3 of 3 was lost"),
        # Who only found another gone is not the reason.
        ([Failure.of(CUT), WorkerLost()], ProgramKilled, "worker 3 of 3 was lost"),
        ([Failure.of(CUT), RAISED], ProgramFailed, "worker 3 of 3: ValueError: the data is of la"),
        ([Failure.of(TrainableError("no"))] * 2, TrainableError, "worker . of 3: no"),
    ],
)
@pytest.mark.parametrize("mine", [lambda: 1, raising(CUT)], ids=["goes on", "is cut off"])
def test_the_trials_reason_is_who_was_lost_or_failed(
    answers: list[Any], kind: type[Exception], message: str, mine: Callable[[], Any]
) -> None:
    group = WorkerGroup([FakeHandle(answer) for answer in answers])
    with pytest.raises(TrainableError, match=f"^{message}") as raised:
        group.run(mine, "step")
    group.end()
    assert type(raised.value) is kind


def test_a_worker_that_failed_is_ended_so_that_nobody_waits_for_it() -> None:
    class Waiting(FakeHandle):
        def end(self) -> None:
            waits.may.set()

    waits = FakeHandle(Failure.of(CUT), waits=True)
    group = WorkerGroup([Waiting(RAISED), waits])
    with pytest.raises(ProgramFailed, match=r"^worker 2 of 3: ValueError"):
        group.run(raising(CUT, waits), "step")
    group.end()


def test_the_first_workers_own_failure_is_raised_and_the_others_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trainables.data_parallel.worker_group.SETTLE_S", 0.1)
    waits = FakeHandle(waits=True)
    group = WorkerGroup([waits])
    with pytest.raises(KeyError, match="width"):
        group.run(raising(KeyError("width")), "step")
    group.end()
    assert waits.is_ended


class Together(Sound):
    """Each of its workers takes its part of the eight points."""

    data_parallel: ClassVar[bool] = True

    def step(self) -> dict[str, Any]:
        points = process_group().shard(self.data)
        loss = self.net(nn.functional.dropout(points)).square().sum() / self.data.numel()
        self.optimizer.zero_grad()
        loss.backward()
        self.average()
        self.optimizer.step()
        return {"loss": self.loss(self.net)}

    def average(self) -> None:
        process_group().all_reduce_gradients(self.net.parameters())


class Apart(Together):
    """Never tells the others of its gradients."""

    def average(self) -> None:
        pass


def test_a_class_that_keeps_its_promises_with_two_workers_passes() -> None:
    check_trainable(Together, LINE, metric="loss", workers=2)


def test_a_class_whose_workers_drift_apart_is_named() -> None:
    with pytest.raises(TrainableError, match=r"^step\(\): worker 2 has other weights than the fi"):
        check_trainable(Apart, LINE, metric="loss", workers=2)


def test_what_does_not_say_that_it_takes_several_workers_is_refused() -> None:
    with pytest.raises(TrainableError, match=r"^workers_per_trial: Sound does not say that it tra"):
        check_trainable(Sound, LINE, metric="loss", workers=2)

    def train(config: dict[str, Any]) -> None: ...

    with pytest.raises(TrainableError, match=r"^workers_per_trial: f\.py:train is a function, wh"):
        check_parallel(as_class(train), "f.py:train")
