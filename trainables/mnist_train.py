"""Train MNIST with several workers, by Ray Train: a function to copy.

Network, optimizer, loss and evaluation are those of `trainables/mnist.py`. `batch_size` is that of
all workers together. To tune it, or a copy with another `trainable` in the file:

    python -m app.tune trainables/mnist_train.toml --workers-per-trial 2
"""

import itertools
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from ray import train as ray_train
from ray.train import torch as ray_torch
from torch import Tensor, distributed, nn, optim
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from trainables import data
from trainables.contract import Config, InputRange, Metrics, Predict
from trainables.data import Digits
from trainables.mnist import PIXELS, Net, compute_metrics, normalize

STATE = "state.pt"
TEST_BATCH_SIZE = 100  # fits the cache of a CPU core

labels = tuple("0123456789")
input_range: InputRange = PIXELS
input_name = "image"
output_name = output_meaning = "log_probabilities"


class Images(Dataset[tuple[Tensor, Tensor]]):
    """Images (N, 1, 28, 28) and labels (N,), of which a loader takes a batch at once."""

    def __init__(self, digits: Digits) -> None:
        self.pixels = torch.tensor(digits.images).unsqueeze(1)
        self.labels = torch.tensor(digits.labels, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Return a batch."""
        return self.pixels[indices], self.labels[indices]


def train(config: Config) -> None:
    """Train in one of the workers; all report, and the metrics of rank 0 count."""
    context = ray_train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    # Workers begin with the weights of rank 0, and each drops units of its own.
    torch.manual_seed(config["seed"] + rank)
    digits, test = data.load()
    shares = load_shares(Images(digits), config["batch_size"], rank, workers)
    loader: Any = ray_torch.prepare_data_loader(shares)
    net = ray_torch.prepare_model(Net())
    optimizer = optim.SGD(net.parameters(), lr=config["lr"], momentum=config["momentum"])
    for epoch in itertools.count(load_state(net, optimizer)):  # the experiment says how many
        start = time.perf_counter()
        loader.sampler.set_epoch(config["seed"] * 1000 + epoch)
        loss = train_epoch(net, loader, optimizer)
        metrics = compute_metrics(evaluate_share(net, test), test.labels)
        metrics |= {"train_loss": loss, "epoch": epoch + 1, "seconds": time.perf_counter() - start}
        report(metrics, net, optimizer)


def load_shares(images: Images, batch_size: int, rank: int, workers: int) -> DataLoader[Any]:
    """Make the loader of a worker's share of every batch.

    However many workers there are, all of them together take the same batches in the same order:
    with one, too, the order is the sampler's, and not of the generator that dropout draws from.
    """
    sampler: DistributedSampler[Any] = DistributedSampler(images, workers, rank)
    share = max(1, batch_size // workers)
    return DataLoader(images, share, sampler=sampler, collate_fn=lambda batch: batch)


def train_epoch(net: nn.Module, loader: Any, optimizer: optim.Optimizer) -> float:
    """Train on this worker's share of the images; return its mean loss."""
    net.train()
    total = torch.zeros(())
    for images, targets in loader:
        loss = F.nll_loss(net(normalize(images)), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.detach().cpu()
    return float(total) / len(loader)


@torch.inference_mode()
def evaluate_share(net: nn.Module, test: Digits) -> np.ndarray[Any, Any]:
    """Return log-probabilities (N, 10) of all test images; each worker computes its share."""
    net.eval()
    device, context = ray_torch.get_device(), ray_train.get_context()
    images = torch.tensor(test.images).unsqueeze(1).split(TEST_BATCH_SIZE)
    outputs = torch.zeros(len(test.labels), len(labels), device=device)
    shares = list(zip(images, outputs.split(TEST_BATCH_SIZE), strict=True))
    module = net.module if isinstance(net, nn.parallel.DistributedDataParallel) else net
    for batch, output in shares[context.get_world_rank() :: context.get_world_size()]:
        output.copy_(module(normalize(batch.to(device))))
    if context.get_world_size() > 1:
        distributed.all_reduce(outputs)
    return np.asarray(outputs.cpu())


def report(metrics: Metrics, net: nn.Module, optimizer: optim.Optimizer) -> None:
    """Report an epoch, with a checkpoint that rank 0 writes."""
    if ray_train.get_context().get_world_rank() > 0:
        ray_train.report(metrics)
        return
    with tempfile.TemporaryDirectory() as folder:
        state = {"model": net.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save({**state, "epoch": metrics["epoch"]}, Path(folder, STATE))
        ray_train.report(metrics, checkpoint=ray_train.Checkpoint.from_directory(folder))


def load_state(net: nn.Module, optimizer: optim.Optimizer) -> int:
    """Load the last checkpoint, if there is one; return the epochs that were trained."""
    checkpoint = ray_train.get_checkpoint()
    if checkpoint is None:
        return 0
    with checkpoint.as_directory() as folder:
        state = torch.load(Path(folder, STATE), map_location="cpu", weights_only=True)
    net.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["epoch"])


def load_model(checkpoint_dir: Path, config: Config) -> nn.Module:
    """Return the network of a checkpoint, for export; it takes normalized images."""
    state = torch.load(Path(checkpoint_dir, STATE), map_location="cpu", weights_only=True)
    net = Net()
    net.load_state_dict({name.removeprefix("module."): v for name, v in state["model"].items()})
    return net


def example_input() -> Tensor:
    """Return the first two test images, normalized: (2, 1, 28, 28)."""
    _, test = data.load()
    return normalize(torch.tensor(test.images[:2]).unsqueeze(1))


def evaluate(predict: Predict) -> Metrics:
    """Evaluate an exported network, which takes pixels (N, 1, 28, 28), on the whole test set."""
    _, test = data.load()
    pixels = test.images[:, None].astype(np.float32)
    starts = range(0, len(pixels), TEST_BATCH_SIZE)
    outputs = [predict(pixels[start : start + TEST_BATCH_SIZE]) for start in starts]
    return compute_metrics(np.concatenate(outputs), test.labels)
