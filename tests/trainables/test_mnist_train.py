"""MNIST as a function for Ray Train, run by it in this process alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ray import train as ray_train
from ray.train.torch import TorchTrainer

from trainables import data, mnist, mnist_train
from trainables.data import Digits

CONFIG = {"lr": 0.05, "momentum": 0.5, "batch_size": 32, "seed": 0}


class Enough(Exception):
    """Ends a function that trains until its trial is ended."""


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few of the digits."""
    train, test = data.load()
    some = (
        Digits(train.images[:512], train.labels[:512]),
        Digits(test.images[:200], test.labels[:200]),
    )
    monkeypatch.setattr(data, "load", lambda: some)


def test_it_learns_goes_on_and_is_exported(
    few: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[dict[str, Any]] = []

    def report(metrics: dict[str, Any], checkpoint: Any) -> None:
        kept.append(metrics)
        checkpoint.to_directory(str(tmp_path))
        if len(kept) % 2 == 0:
            raise Enough

    monkeypatch.setattr(ray_train, "report", report)
    run = TorchTrainer(
        lambda: mnist_train.train(CONFIG),
        scaling_config=ray_train.ScalingConfig(num_workers=0),  # in this process
    )
    with pytest.raises(Enough):
        run.fit()
    monkeypatch.setattr(ray_train, "get_checkpoint", lambda: ray_train.Checkpoint(str(tmp_path)))
    with pytest.raises(Enough):
        run.fit()
    assert [metrics["epoch"] for metrics in kept] == [1, 2, 3, 4]
    assert kept[3]["average_test_loss"] < kept[0]["average_test_loss"]

    net = mnist_train.load_model(tmp_path, CONFIG).eval()

    def predict(pixels: Any) -> Any:
        with torch.inference_mode():
            return np.asarray(net(mnist.normalize(torch.from_numpy(pixels))))

    found = mnist_train.evaluate(predict)["average_test_loss"]
    assert found == pytest.approx(kept[3]["average_test_loss"], rel=1e-5)
    assert net(mnist_train.example_input()).shape == (2, 10)


def test_workers_together_take_the_batches_of_one(few: None) -> None:
    images = mnist_train.Images(data.load()[0])

    def batches(rank: int, workers: int) -> list[list[float]]:
        loader: Any = mnist_train.load_shares(images, 32, rank, workers)
        loader.sampler.set_epoch(3)
        return [pixels.flatten(1).sum(1).tolist() for pixels, _ in loader]

    shares = zip(batches(0, 2), batches(1, 2), strict=True)
    assert [sorted(a + b) for a, b in shares] == [sorted(batch) for batch in batches(0, 1)]
