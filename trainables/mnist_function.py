"""Train a small network on MNIST by a plain function: a template to copy, with its export.

The experiment is `trainables/mnist_function.toml`; Ray Tune ends a trial after its `epochs`:

    python -m app.tune trainables/mnist_function.toml
    python -m trainables.check --experiment trainables/mnist_function.toml
"""

import functools
import itertools
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from ray import tune
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trainables import data
from trainables.contract import Config, InputRange, Metrics, Predict

labels = tuple("0123456789")
output_meaning = "logits"
input_range = InputRange(low=0.0, high=255.0, mean=0.1307, std=0.3081)


def train(config: Config) -> None:
    """Train until Ray Tune ends the trial; each epoch is a report with a checkpoint."""
    (images, digits), test = load_tensors()
    network, done = make_network(), 0
    optimizer = torch.optim.SGD(network.parameters(), lr=config["lr"], momentum=config["momentum"])
    if checkpoint := tune.get_checkpoint():
        state = torch.load(Path(checkpoint.path, "state.pt"), weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        done = state["epoch"]
    for epoch in itertools.count(done + 1):
        for batch in torch.randperm(len(images)).split(config["batch_size"]):
            optimizer.zero_grad()
            cross_entropy(network(normalize(images[batch])), digits[batch]).backward()
            optimizer.step()
        with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
            state = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
            state |= {"epoch": epoch, "random": torch.get_rng_state()}
            torch.save(state, Path(folder, "state.pt"))
            metrics = compute_metrics(network(normalize(test[0])), test[1])
            tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(folder))


def load_model(checkpoint_dir: Path, config: Config) -> nn.Module:
    """Return the network of a checkpoint; it takes normalized images (N, 1, 28, 28)."""
    network = make_network()
    state = torch.load(Path(checkpoint_dir, "state.pt"), weights_only=True)
    network.load_state_dict(state["network"])
    return network


def example_input() -> Tensor:
    """Return two normalized test images: (2, 1, 28, 28)."""
    return normalize(load_tensors()[1][0][:2])


def evaluate(predict: Predict) -> Metrics:
    """Evaluate an exported network, which takes pixels from 0 to 255, on the test set."""
    images, digits = load_tensors()[1]
    return compute_metrics(torch.from_numpy(predict(images.numpy().astype(np.float32))), digits)


def labelled_examples() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the test images (N, 1, 28, 28) and their digits (N,), for the report's confusions."""
    images, digits = load_tensors()[1]
    return images.numpy(), digits.numpy()


def make_network() -> nn.Module:
    """Make a network of 784 inputs, 128 hidden units and 10 logits."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))


@functools.cache
def load_tensors() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Load images (N, 1, 28, 28) and digits (N,) to train and to test with, once a process."""
    train, test = (
        (torch.tensor(part.images).unsqueeze(1), torch.tensor(part.labels, dtype=torch.int64))
        for part in data.load()
    )
    return train, test


def normalize(images: Tensor) -> Tensor:
    """Scale pixels from 0 to 255 to mean 0 and standard deviation 1."""
    return (images / input_range.high - input_range.mean) / input_range.std


def compute_metrics(logits: Tensor, digits: Tensor) -> Metrics:
    """Compute the mean loss and the accuracy."""
    return {
        "average_test_loss": cross_entropy(logits.double(), digits).item(),
        "test_accuracy": (logits.argmax(dim=1) == digits).double().mean().item(),
    }
