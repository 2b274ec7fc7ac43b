"""A SageMaker training script for MNIST, the template for one's own: `app.tune --entry-point` it.

It reads a folder in torchvision's layout from the channel `training`, prints its test loss after
every epoch, and leaves `model.pth` for `model_fn`. The network takes pixels from 0 to 255, so that
whoever asks the endpoint need not know how it was trained.
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torchvision.datasets import MNIST

logger = logging.getLogger(__name__)
MODEL = "model.pth"


class Scaled(nn.Module):
    """Pixels from 0 to 255 with MNIST's mean at 0 and its deviation at 1."""

    def forward(self, pixels: Tensor) -> Tensor:
        """The images, scaled."""
        return (pixels.float() / 255 - 0.1307) / 0.3081


def network() -> nn.Module:
    """Two convolutions and two dense layers: images (N, 1, 28, 28) to log-probabilities (N, 10)."""
    return nn.Sequential(
        *(Scaled(), nn.Conv2d(1, 10, kernel_size=5), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(10, 20, kernel_size=5), nn.Dropout2d(), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(320, 50), nn.ReLU(), nn.Dropout()),
        *(nn.Linear(50, 10), nn.LogSoftmax(dim=1)),
    )


def model_fn(model_dir: str) -> nn.Module:
    """The trained network; an endpoint calls this once."""
    model = network()
    model.load_state_dict(torch.load(Path(model_dir, MODEL), map_location="cpu"))
    return model


def train(args: argparse.Namespace) -> None:
    """Train on this host's share of the images; the first host evaluates, and saves the model."""
    torch.manual_seed(args.seed)
    device = torch.device("cuda" if args.num_gpus > 0 else "cpu")
    rank, hosts = args.hosts.index(args.current_host), len(args.hosts)
    model = trained = network().to(device)
    if hosts > 1:
        torch.distributed.init_process_group(args.backend, rank=rank, world_size=hosts)
        trained = DistributedDataParallel(model)
    images, labels = digits(args.data_dir, device, train=True)
    images, labels = images[: args.images], labels[: args.images]
    test = digits(args.data_dir, device, train=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=args.momentum)
    for epoch in range(1, args.epochs + 1):
        trained.train()
        # All hosts draw the same order, and each takes every so many of it.
        mine = torch.randperm(len(images))[rank::hosts]
        for number, batch in enumerate(mine.split(args.batch_size), 1):
            optimizer.zero_grad()
            loss = functional.nll_loss(trained(images[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            if number % args.log_interval == 0:
                done = number * args.batch_size
                logger.info(f"Train Epoch: {epoch} [{done}/{len(mine)}] Loss: {loss.item():.6f}")
        if rank == 0:
            evaluate(model, *test)
    if rank == 0:
        torch.save(model.cpu().state_dict(), Path(args.model_dir, MODEL))
    if hosts > 1:
        torch.distributed.destroy_process_group()


@torch.no_grad()
def evaluate(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Print the mean loss on all test images, and how many of them are right."""
    model.eval()
    outputs = torch.cat([model(batch) for batch in images.split(1000)])
    loss = functional.nll_loss(outputs, labels).item()
    right = int((outputs.argmax(dim=1) == labels).sum())
    logger.info(f"Test set: Average loss: {loss:.6f}, Accuracy: {right}/{len(labels)}")


def digits(folder: str, device: torch.device, *, train: bool) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 28, 28), uint8 from 0 to 255, and the digits that they show."""
    dataset = MNIST(folder, train=train)
    return dataset.data.unsqueeze(1).to(device), dataset.targets.to(device)


def parser() -> argparse.ArgumentParser:
    """What a run may be given: hyperparameters, and what a container says of itself."""
    flags = argparse.ArgumentParser()
    flags.add_argument("--batch-size", type=int, default=64)
    flags.add_argument("--epochs", type=int, default=6)
    flags.add_argument("--lr", type=float, default=0.01)
    flags.add_argument("--momentum", type=float, default=0.5)
    flags.add_argument("--seed", type=int, default=1)
    flags.add_argument("--images", type=int, default=60_000)
    flags.add_argument("--log-interval", type=int, default=100)
    flags.add_argument("--backend", default="gloo")
    flags.add_argument("--hosts", type=json.loads, default=os.environ.get("SM_HOSTS", '["algo-1"]'))
    flags.add_argument("--current-host", default=os.environ.get("SM_CURRENT_HOST", "algo-1"))
    flags.add_argument("--model-dir", default=os.environ.get("SM_MODEL_DIR", "."))
    flags.add_argument("--data-dir", default=os.environ.get("SM_CHANNEL_TRAINING", "data"))
    flags.add_argument("--num-gpus", type=int, default=os.environ.get("SM_NUM_GPUS", "0"))
    return flags


def main(argv: Sequence[str] | None = None) -> None:
    """Train as the arguments and the container's variables say."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    train(parser().parse_args(argv))


if __name__ == "__main__":
    main()
