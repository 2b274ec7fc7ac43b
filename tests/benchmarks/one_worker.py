"""Train MNIST by Ray Train with one worker: reports of the epochs as lines of JSON.

Run as `python -m tests.benchmarks.one_worker CONFIG EPOCHS FOLDER`, the configuration as JSON.
"""

import json
import logging
import sys
from pathlib import Path
from typing import Any

import ray
from ray import train as ray_train

from trainables import mnist_train
from trainables.train.trainer_run import Trainer

REPORTS = "reports"


def main(config: str, epochs: str, folder: str) -> None:
    """Train, and print what was reported."""
    ray.init(address="local", num_cpus=1, include_dashboard=False, logging_level=logging.ERROR)
    log = Path(folder, REPORTS)

    class EnoughError(Exception):
        """Ends a function that trains until its trial is ended."""

    def loop() -> None:
        def report(metrics: dict[str, Any], checkpoint: Any = None) -> None:
            with log.open("a") as file:
                file.write(json.dumps(metrics) + "\n")
            if metrics["epoch"] == int(epochs):
                raise EnoughError

        ray_train.report = report  # in this worker's process
        try:
            mnist_train.train(json.loads(config))
        except EnoughError:
            return

    Trainer(
        loop,
        scaling_config=ray_train.ScalingConfig(num_workers=1),
        run_config=ray_train.RunConfig(storage_path=folder),
    ).fit()
    sys.stdout.write(log.read_text())


if __name__ == "__main__":
    main(*sys.argv[1:])
