"""The other side of `sweep`: the default search as Ray's documentation teaches it.

A function trainable, torchvision's MNIST with transforms, a DataLoader, OptunaSearch with its
defaults, and a checkpoint for each epoch. The last line it prints is the best loss.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from ray import tune
from ray.tune.search.optuna import OptunaSearch
from torch.nn import functional
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

from trainables.mnist import Net


def loaders(config: dict[str, Any]) -> tuple[Any, Any]:
    """The training and the test batches."""
    transform = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
    )
    train: Any = datasets.MNIST(config["data"], train=True, transform=transform)
    test: Any = datasets.MNIST(config["data"], train=False, transform=transform)
    if config["fraction"] < 1:
        train = Subset(train, range(int(len(train) * config["fraction"])))
        test = Subset(test, range(int(len(test) * config["fraction"])))
    return (
        DataLoader(train, batch_size=config["batch_size"], shuffle=True),
        DataLoader(test, batch_size=1000),
    )


def train(config: dict[str, Any]) -> None:
    """One trial."""
    torch.manual_seed(0)
    train_loader, test_loader = loaders(config)
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=config["lr"], momentum=0.5)
    for _ in range(config["epochs"]):
        net.train()
        for images, labels in train_loader:
            optimizer.zero_grad()
            functional.nll_loss(net(images), labels).backward()
            optimizer.step()
        net.eval()
        total = 0.0
        with torch.no_grad():
            for images, labels in test_loader:
                total += functional.nll_loss(net(images), labels, reduction="sum").item()
        with tempfile.TemporaryDirectory() as folder:
            state = {"model": net.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(state, Path(folder, "state.pt"))
            tune.report(
                {"average_test_loss": total / len(test_loader.dataset)},
                checkpoint=tune.Checkpoint.from_directory(folder),
            )


def main() -> None:
    """Run the search."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--storage", required=True)
    parser.add_argument("--fraction", type=float, default=1.0)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    tuner = tune.Tuner(
        tune.with_resources(train, {"cpu": 0.66}),
        param_space={
            "lr": tune.loguniform(0.001, 0.1),
            "batch_size": tune.choice([32, 64, 128, 256, 512]),
            "epochs": arguments.epochs,
            "fraction": arguments.fraction,
            "data": arguments.data,
        },
        tune_config=tune.TuneConfig(
            metric="average_test_loss",
            mode="min",
            num_samples=9,
            max_concurrent_trials=3,
            search_alg=OptunaSearch(seed=arguments.seed),
        ),
        run_config=tune.RunConfig(name="idiomatic", storage_path=arguments.storage),
    )
    metrics = tuner.fit().get_best_result().metrics
    assert metrics is not None  # every trial reported
    print(metrics["average_test_loss"])


if __name__ == "__main__":
    main()
