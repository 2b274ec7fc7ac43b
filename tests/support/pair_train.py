"""Function for Ray Train that costs nothing, and whose workers only count one another.

It is given as a file, as a user's own is. `how` makes one of its workers misbehave, once where it
says so.
"""

import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ray
import torch
from ray import train as ray_train
from torch import distributed

from trainables.contract import TrainableError

LATE = 7
"""An epoch that begins only once the first one is recorded, as few reports wait on their way."""


def train(config: dict[str, Any]) -> None:
    """The loss is 1 / epoch, where all have come; `log` gets a line for each epoch of rank 0."""
    rank, workers = ray_train.get_context().get_world_rank(), ray_train.get_context()
    for epoch in range(_resumed() + 1, 100):
        if rank == 0:
            _log(config, epoch)
        time.sleep(config.get("seconds", 0.0))
        _misbehave(config, rank, epoch)
        came = torch.ones(())
        distributed.all_reduce(came)
        sys.stdout.write(f"epoch {epoch} of worker {rank}\n")
        loss = workers.get_world_size() / float(came) / epoch
        _report({"loss": loss, "came": float(came)}, epoch)


def _report(metrics: dict[str, Any], epoch: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "epoch").write_text(str(epoch))
        ray_train.report(metrics, checkpoint=ray_train.Checkpoint.from_directory(folder))


def _resumed() -> int:
    """The epoch of the last checkpoint; 0 without one."""
    checkpoint = ray_train.get_checkpoint()
    if checkpoint is None:
        return 0
    with checkpoint.as_directory() as folder:
        return int(Path(folder, "epoch").read_text())


def _log(config: dict[str, Any], epoch: int) -> None:
    if "log" in config:
        with Path(config["log"]).open("a") as file:
            node = ray.get_runtime_context().get_node_id()
            file.write(json.dumps([config.get("x"), epoch, node]) + "\n")


def _misbehave(config: dict[str, Any], rank: int, epoch: int) -> None:
    how = config.get("how")
    if how == f"{rank} raises" and epoch == 2:
        raise ValueError("the data is of last year")
    if how == f"{rank} refuses" and epoch == 2:
        raise TrainableError("the data is gone")
    if how == f"{rank} dies once" and epoch == LATE and not Path(config["mark"]).exists():
        Path(config["mark"]).touch()
        os.kill(os.getpid(), signal.SIGKILL)
