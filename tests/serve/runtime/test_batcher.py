"""Batching: each request gets the outputs that it gets alone, or its own error."""

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from serve.errors import DeadlineError
from serve.models.artifact import Golden, Manifest, TensorSpec
from serve.runtime.batcher import (
    LOOP_SECONDS,
    MAX_BATCH_SIZE,
    Batcher,
    NetworkCost,
)
from serve.runtime.onnx_backend import OnnxBackend
from serve.runtime.onnx_predictor import Predictor, load
from tests.support.tiny_model import TinyModel

Floats = NDArray[np.float32]
MANIFEST = Manifest(
    name="fake",
    inputs=(TensorSpec("x", "float32", (-1, 3), (0.0, 1.0)),),
    outputs=(TensorSpec("y", "float32", (-1, 3)),),
    golden=Golden([], []),
)


class Fake:
    """Doubles inputs, records sizes of batches, and fails for inputs above 1."""

    def __init__(self, manifest: Manifest = MANIFEST) -> None:
        self.manifest = manifest
        self.sizes: list[int] = []
        self.threads: list[threading.Thread] = []

    def predict(self, pixels: Floats) -> Floats:
        self.sizes.append(len(pixels))
        self.threads.append(threading.current_thread())
        if (pixels > 1).any():
            raise ValueError("above 1")
        return pixels * 2


class Centred(Fake):
    """Computes outputs that depend on the other inputs of a batch."""

    def predict(self, pixels: Floats) -> Floats:
        return np.asarray(pixels - pixels.mean(), np.float32)


class Slow(Fake):
    """Takes longer than `LOOP_SECONDS` of the processor."""

    def predict(self, pixels: Floats) -> Floats:
        self.threads.append(threading.current_thread())
        until = time.thread_time() + 2 * LOOP_SECONDS
        while time.thread_time() < until:
            pass
        return pixels


def manifest_with_input(shape: tuple[int, ...], low: float, high: float) -> Manifest:
    return replace(MANIFEST, inputs=(TensorSpec("x", "float32", shape, (low, high)),))


def infer_all(
    predictor: Predictor, inputs: Sequence[Floats], wait_s: float = 60
) -> list[Floats | BaseException]:
    """Send all requests at once; returns their outputs or errors."""

    async def infer() -> list[Floats | BaseException]:
        backend = OnnxBackend(predictor)
        requests = (backend.infer(one, wait_s) for one in inputs)
        return await asyncio.gather(*requests, return_exceptions=True)

    return asyncio.run(infer())


def test_batching_does_not_change_a_bit_of_the_outputs(tmp_path: Path) -> None:
    predictor = load(TinyModel.random().write(tmp_path / "model"))
    images = np.random.default_rng(5).integers(0, 256, (50, 1, 28, 28)).astype(np.float32)
    inputs = [images[:1], images[1:4], *(images[at : at + 1] for at in range(4, 50))]
    assert NetworkCost.measure(predictor).batch_size == MAX_BATCH_SIZE
    for one, outputs in zip(inputs, infer_all(predictor, inputs), strict=True):
        alone = np.concatenate([predictor.predict(one[at : at + 1]) for at in range(len(one))])
        assert isinstance(outputs, np.ndarray)
        assert outputs.tobytes() == alone.tobytes()


def test_waiting_requests_run_in_full_batches(tmp_path: Path) -> None:
    fake = Fake()
    count = 2 * MAX_BATCH_SIZE + 3
    answers = infer_all(fake, [np.full((1, 3), at / 100, np.float32) for at in range(count)])
    assert [float(one[0, 0]) for one in answers if isinstance(one, np.ndarray)] == [
        pytest.approx(at / 50) for at in range(count)
    ]
    assert fake.sizes[-3:] == [MAX_BATCH_SIZE, MAX_BATCH_SIZE, 3]


def test_a_request_larger_than_a_batch_runs_alone() -> None:
    fake = Fake()
    one, many = np.zeros((1, 3), np.float32), np.zeros((MAX_BATCH_SIZE + 1, 3), np.float32)
    answers = infer_all(fake, [one, many, one])
    assert [len(found) for found in answers if isinstance(found, np.ndarray)] == [
        1,
        MAX_BATCH_SIZE + 1,
        1,
    ]
    assert fake.sizes[-3:] == [1, MAX_BATCH_SIZE + 1, 1]


def test_a_failing_request_fails_alone() -> None:
    good = np.zeros((1, 3), np.float32)
    first, second, third = infer_all(Fake(), [good, good + 2, good])
    assert isinstance(first, np.ndarray)
    assert isinstance(second, ValueError)
    assert isinstance(third, np.ndarray)


def test_a_request_past_its_deadline_fails_and_is_not_run() -> None:
    fake = Fake()
    late = np.full((1, 3), 0.5, np.float32)
    found = infer_all(fake, [late], wait_s=-1)
    assert isinstance(found[0], DeadlineError)
    assert fake.sizes[-1] == MAX_BATCH_SIZE  # Of the trial when it was loaded.


@pytest.mark.parametrize(
    ("predictor", "size"),
    [
        (Fake(), MAX_BATCH_SIZE),
        (Centred(), 1),
        (Slow(), 1),
        (Fake(manifest_with_input((-1, -1), 0, 1)), 1),
        (Fake(manifest_with_input((-1, 3), 2, 3)), 1),
    ],
    ids=["steady", "swayed by others", "slow", "of any size", "failing"],
)
def test_only_quick_networks_with_the_same_bits_in_a_batch_are_batched(
    predictor: Predictor, size: int
) -> None:
    assert NetworkCost.measure(predictor).batch_size == size


def test_what_would_hold_the_event_loop_runs_in_a_thread() -> None:
    fake = Fake()
    batcher = Batcher(fake.predict, NetworkCost(MAX_BATCH_SIZE, LOOP_SECONDS / 4))

    async def infer() -> list[Floats]:
        rows = [np.zeros((count, 3), np.float32) for count in (1, 3, 5, 4)]
        return await asyncio.gather(*(batcher.infer(one, 60) for one in rows))

    assert [len(outputs) for outputs in asyncio.run(infer())] == [1, 3, 5, 4]
    of_size = dict(zip(fake.sizes, fake.threads, strict=True))
    main = threading.main_thread()
    assert {size: of_size[size] is main for size in of_size} == {4: True, 5: False}


def test_a_slow_network_never_runs_on_the_event_loop() -> None:
    slow = Slow()
    infer_all(slow, [np.zeros((1, 3), np.float32)])
    assert slow.threads[-1] is not threading.main_thread()
