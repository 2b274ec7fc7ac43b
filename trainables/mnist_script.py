"""Train a small convolutional network on MNIST, as a SageMaker training script.

A template for scripts of one's own. To tune it, with MNIST in torchvision's layout in `data`:

    python -m app.tune --entry-point trainables/mnist_script.py --input training=data

The script reads the channel `training`, prints its test loss after every epoch and saves
`model.pth`, which `model_fn` loads for an endpoint. The network takes pixels from 0 to 255, so that
clients need not know how it was trained.
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn, optim
from torch.nn.parallel import DistributedDataParallel
from torchvision.datasets import MNIST

logger = logging.getLogger(__name__)

MODEL_FILE = "model.pth"
TEST_BATCH_SIZE = 1000
MEAN, STD = 0.1307, 0.3081  # of MNIST's training pixels, scaled to 0 to 1


class Net(nn.Module):
    """Two convolutional and two linear layers with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, kernel_size=5)
        self.conv2 = nn.Conv2d(10, 20, kernel_size=5)
        self.conv2_drop = nn.Dropout2d()
        self.fc1 = nn.Linear(320, 50)
        self.fc2 = nn.Linear(50, 10)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return log-probabilities (N, 10) of images (N, 1, 28, 28), pixels from 0 to 255."""
        x = (pixels.float() / 255 - MEAN) / STD
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2_drop(self.conv2(x)), 2))
        x = x.flatten(1)
        x = F.dropout(F.relu(self.fc1(x)), training=self.training)
        return F.log_softmax(self.fc2(x), dim=1)


def model_fn(model_dir: str) -> nn.Module:
    """Load the trained network; an endpoint calls this once."""
    model = Net()
    model.load_state_dict(torch.load(Path(model_dir, MODEL_FILE), map_location="cpu"))
    return model


def train(args: argparse.Namespace) -> None:
    """Train on all hosts; the first one evaluates after every epoch and saves the model."""
    torch.manual_seed(args.seed)
    device = torch.device("cuda" if args.num_gpus > 0 else "cpu")
    rank, world_size = args.hosts.index(args.current_host), len(args.hosts)

    images, labels = load_digits(args.data_dir, device, train=True)
    images, labels = images[: args.images], labels[: args.images]
    test_images, test_labels = load_digits(args.data_dir, device, train=False)

    model: nn.Module = Net().to(device)
    parallel_model = model
    if world_size > 1:
        dist.init_process_group(args.backend, rank=rank, world_size=world_size)
        parallel_model = DistributedDataParallel(model)
    optimizer = optim.SGD(model.parameters(), lr=args.lr, momentum=args.momentum)

    for epoch in range(1, args.epochs + 1):
        parallel_model.train()
        # All hosts draw the same order, and each takes its part of it.
        indices = torch.randperm(len(images))[rank::world_size]
        for step, batch in enumerate(indices.split(args.batch_size), 1):
            optimizer.zero_grad()
            loss = F.nll_loss(parallel_model(images[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            if step % args.log_interval == 0:
                progress = f"[{step * args.batch_size}/{len(indices)}]"
                logger.info(f"Train Epoch: {epoch} {progress} Loss: {loss.item():.6f}")
        if rank == 0:
            test(model, test_images, test_labels)

    if rank == 0:
        torch.save(model.cpu().state_dict(), Path(args.model_dir, MODEL_FILE))
    if world_size > 1:
        dist.destroy_process_group()


@torch.no_grad()
def test(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Print the mean loss and the number of correct predictions on the test set."""
    model.eval()
    outputs = torch.cat([model(batch) for batch in images.split(TEST_BATCH_SIZE)])
    loss = F.nll_loss(outputs, labels).item()
    correct = int((outputs.argmax(dim=1) == labels).sum())
    logger.info(f"Test set: Average loss: {loss:.6f}, Accuracy: {correct}/{len(labels)}")


def load_digits(folder: str, device: torch.device, *, train: bool) -> tuple[Tensor, Tensor]:
    """Load images (N, 1, 28, 28), uint8 from 0 to 255, and labels (N,), int64."""
    dataset = MNIST(folder, train=train)
    return dataset.data.unsqueeze(1).to(device), dataset.targets.to(device)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse hyperparameters; folders, hosts and GPUs default to the container's variables."""
    parser = argparse.ArgumentParser(description="Train a digit classifier on MNIST.")
    add, env = parser.add_argument, os.environ.get

    add("--batch-size", type=int, default=64, help="images of a training step, per host")
    add("--epochs", type=int, default=6)
    add("--lr", type=float, default=0.01, help="learning rate")
    add("--momentum", type=float, default=0.5, help="SGD momentum")
    add("--seed", type=int, default=1)
    add("--images", type=int, default=60_000, help="how many images to train on")
    add("--log-interval", type=int, default=100, help="training steps between two log lines")
    add("--backend", default="gloo", help="backend of torch.distributed, with several hosts")

    add("--hosts", type=json.loads, default=env("SM_HOSTS", '["algo-1"]'))
    add("--current-host", default=env("SM_CURRENT_HOST", "algo-1"))
    add("--model-dir", default=env("SM_MODEL_DIR", "."))
    add("--data-dir", default=env("SM_CHANNEL_TRAINING", "data"))
    add("--num-gpus", type=int, default=env("SM_NUM_GPUS", "0"))
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Train as the command line says; metrics are read from stdout."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    train(parse_args(argv))


if __name__ == "__main__":
    main()
