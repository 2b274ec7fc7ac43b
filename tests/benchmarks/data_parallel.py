"""Final losses and seconds of MNIST under Ray Train with several workers, and with one.

Run as `python -m tests.benchmarks.data_parallel [--workers 2] [--seeds 0 1 2] [--epochs 6]`. For
each seed this project's command trains one trial of `trainables/mnist_train.py`, whose workers have
a share of each batch, and Ray Train alone the same function with one worker, since a trial of one
is Ray Tune's. Every worker has a CPU of its own.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks.meter import conditions, measured, table

EXPERIMENT = """
name = "data_parallel"
trainable = "trainables.mnist_train:train"
metric = "average_test_loss"
mode = "min"
num_samples = 1
search = "random"
epochs = {epochs}
seed = {seed}
[space]
lr = {{ type = "categorical", values = [{lr}] }}
[fixed]
momentum = {momentum}
batch_size = {batch_size}
[resources]
cpus_per_trial = 1.0
workers_per_trial = {workers}
"""


MOMENTUM = 0.5


def main() -> None:
    """Train with both numbers of workers in turn, and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=0.05)
    asked = parser.parse_args()
    rows, ratios = [], []
    for seed in asked.seeds:
        several, one = trained(asked, seed), trained_by_one(asked, seed)
        ratios.append(last(several) / last(one))
        rows.append(
            {
                "seed": str(seed),
                "one worker": f"{last(one):.5f}",
                f"{asked.workers} workers": f"{last(several):.5f}",
                "ratio": f"{ratios[-1]:.3f}",
                "epoch, one": f"{seconds(one):.2f} s",
                f"epoch, {asked.workers}": f"{seconds(several):.2f} s",
            }
        )
        print(table(rows[-1:]), flush=True)
    print(conditions("ray", "torch"))
    print(table(rows))
    print(f"ratio of the final losses, mean of the seeds: {statistics.mean(ratios):.3f}")


def trained(asked: argparse.Namespace, seed: int) -> list[dict[str, Any]]:
    """Give the reports of a trial's epochs."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        experiment = Path(folder, "data_parallel.toml")
        names = ("epochs", "lr", "batch_size", "workers")
        values = {name: getattr(asked, name) for name in names}
        experiment.write_text(EXPERIMENT.format(seed=seed, momentum=MOMENTUM, **values))
        place = ["--runs", folder, "--name", "data_parallel", "--json"]
        out = measured([sys.executable, "-m", "app.tune", str(experiment), *place]).out
    (trial,) = json.loads(out)["trials"]
    history: list[dict[str, Any]] = trial["history"]
    return history


def trained_by_one(asked: argparse.Namespace, seed: int) -> list[dict[str, Any]]:
    """Give the reports of one worker's epochs."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        config = {"lr": asked.lr, "batch_size": asked.batch_size, "momentum": MOMENTUM}
        words = [json.dumps({**config, "seed": seed}), str(asked.epochs), folder]
        out = measured([sys.executable, "-m", "tests.benchmarks.one_worker", *words]).out
    return [json.loads(line) for line in out.splitlines()]


def last(history: list[dict[str, Any]]) -> float:
    """The loss after the last epoch."""
    return float(history[-1]["average_test_loss"])


def seconds(history: list[dict[str, Any]]) -> float:
    """Of an epoch, the middle of them."""
    return statistics.median(float(each["seconds"]) for each in history)


if __name__ == "__main__":
    main()
