"""Time of an epoch: the built-in trainable's, the network's alone, and a DataLoader's.

Run as `python -m tests.benchmarks.epoch`. `trainable` is the built-in trainable's own epoch.
`floor` is its network alone: forward, backward and optimizer step over batches in memory.
`DataLoader` is the loop of the tutorials: torchvision's MNIST with its transforms. All three run on
one thread, without evaluation, in turn, so that other work on the machine slows each alike. Times
are CPU times of 60,000 images; ratios are to the floor of the same turn.
"""

import argparse
import gzip
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
import torchvision
from ray import tune
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision import transforms

from trainables.data import PACKAGED, Digits
from trainables.mnist import PIXELS, MnistTrainable, Net

BATCH_SIZES = (32, 64, 128, 256, 512)
EPOCH = 60_000
CONFIG = {"lr": 0.01, "momentum": 0.5, "seed": 0}

Batches = Iterable[tuple[Tensor, Tensor]]
Loop = Callable[[], float]
"""Trains on some images and gives the processor seconds of a whole epoch."""


@dataclass(frozen=True)
class Measurement:
    """Times of one way of training, turn by turn."""

    name: str
    seconds: list[float]
    ratios: list[float]

    def row(self) -> str:
        """Median and range, of seconds and of ratios."""
        return f"  {self.name:10}  {_spread(self.seconds, 's')}   {_spread(self.ratios, 'x')}"


def _spread(values: list[float], unit: str) -> str:
    return (
        f"{statistics.median(values):6.2f} {unit} ({min(values):.2f} to {max(values):.2f})".ljust(
            28
        )
    )


def _seconds(train: Callable[[], object], images: int) -> float:
    start = time.process_time()
    train()
    return (time.process_time() - start) * EPOCH / images


def _train(net: Net, optimizer: torch.optim.Optimizer, batches: Batches) -> None:
    for images, labels in batches:
        optimizer.zero_grad()
        functional.nll_loss(net(images), labels).backward()
        optimizer.step()


def _network() -> tuple[Net, torch.optim.Optimizer]:
    net = Net().to(memory_format=torch.channels_last)
    return net, torch.optim.SGD(net.parameters(), lr=CONFIG["lr"], momentum=CONFIG["momentum"])


def trainable_loop(train: Digits, batch_size: int) -> Loop:
    """The built-in trainable's epoch."""
    trial = tune.with_parameters(MnistTrainable, train=train, test=train)(
        {**CONFIG, "batch_size": batch_size}
    )
    return lambda: _seconds(trial._train, len(train.labels))


def floor_loop(train: Digits, batch_size: int) -> Loop:
    """The network alone, over shuffled and normalised batches prepared beforehand."""
    order = torch.randperm(len(train.labels))
    images = torch.tensor(train.images).unsqueeze(1)[order].float()
    images = images.div_(PIXELS.high).sub_(PIXELS.mean).div_(PIXELS.std)
    labels = torch.tensor(train.labels, dtype=torch.int64)[order]
    batches = list(zip(images.split(batch_size), labels.split(batch_size), strict=True))
    net, optimizer = _network()
    return lambda: _seconds(lambda: _train(net, optimizer, batches), len(labels))


def loader_loop(folder: Path, batch_size: int, images: int) -> Loop:
    """A `DataLoader` over torchvision's dataset, in this process."""
    normalize = transforms.Normalize((PIXELS.mean,), (PIXELS.std,))
    dataset = torchvision.datasets.MNIST(
        folder, transform=transforms.Compose([transforms.ToTensor(), normalize])
    )
    loader = DataLoader(dataset, batch_size=batch_size, shuffle=True)
    net, optimizer = _network()
    batches = images // batch_size
    return lambda: _seconds(
        lambda: _train(net, optimizer, islice(loader, batches)), batches * batch_size
    )


def lay_out(folder: Path) -> None:
    """Unpack the packaged digits as torchvision expects them."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for archive in PACKAGED.glob("*.gz"):
        (raw / archive.stem).write_bytes(gzip.decompress(archive.read_bytes()))


def measure(loops: Mapping[str, Loop], repeats: int) -> list[Measurement]:
    """Run the loops in turn, `repeats` times after one turn to warm up."""
    turns = [{name: loop() for name, loop in loops.items()} for _ in range(repeats + 1)][1:]
    return [
        Measurement(
            name,
            [turn[name] for turn in turns],
            [turn[name] / turn["floor"] for turn in turns],
        )
        for name in loops
    ]


def main() -> None:
    """Print a table for every batch size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fraction", type=float, default=0.1, help="part of an epoch (0.1)")
    parser.add_argument("--repeats", type=int, default=5, help="turns that count (5)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    whole = MnistTrainable.shared(None, False)["train"]
    images = max(max(BATCH_SIZES), int(EPOCH * arguments.fraction))
    train = Digits(whole.images[:images], whole.labels[:images])
    print(
        f"torch {torch.__version__}, torchvision {torchvision.__version__},"
        f" {torch.backends.cpu.get_cpu_capability()}, 1 of {torch.multiprocessing.cpu_count()}"
        f" cores; {arguments.repeats} turns of {images:,} images; median (range)"
    )
    with tempfile.TemporaryDirectory() as folder:
        lay_out(Path(folder))
        for batch_size in BATCH_SIZES:
            print(f"batch size {batch_size}")
            loops = {
                "floor": floor_loop(train, batch_size),
                "trainable": trainable_loop(train, batch_size),
                "DataLoader": loader_loop(Path(folder), batch_size, images),
            }
            for measurement in measure(loops, arguments.repeats):
                print(measurement.row(), flush=True)


if __name__ == "__main__":
    main()
