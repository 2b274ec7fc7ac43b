"""Trainable that costs nothing and takes several workers, which only count one another.

It is given as a file, as a user's own is. `how` makes one of its workers misbehave.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any, ClassVar

import torch
from ray import tune

from trainables.contract import TrainableError
from trainables.data_parallel.process_group import process_group


class Pair(tune.Trainable):
    """The loss is 1 / epochs, where all have come."""

    data_parallel: ClassVar[bool] = True
    trial_folder: Path

    def setup(self, config: dict[str, Any]) -> None:
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.how, self.mark = new_config["how"], Path(new_config["mark"])
        self.epochs = 0
        return True

    def step(self) -> dict[str, Any]:
        workers = process_group()
        if self.epochs == 1:
            self._misbehave(workers.rank)
        self.epochs += 1
        self._print(workers.rank)
        self.trial_folder.mkdir(parents=True, exist_ok=True)
        with Path(self.trial_folder, f"of-worker-{workers.rank}").open("a") as file:
            file.write(f"{self.epochs} ")
        came = float(workers.all_reduce(torch.ones(())))
        return {"loss": workers.world_size / came / self.epochs, "came": came, "pid": os.getpid()}

    def _print(self, rank: int) -> None:
        """Print a line each, the second worker's while the first one has begun its own."""
        if rank == 0:
            sys.stdout.write("of two lines\nthe first has begun")
        process_group().all_reduce(torch.ones(()))
        if rank == 1:
            sys.stdout.write("the second has begun and ended\n")
        process_group().all_reduce(torch.ones(()))
        if rank == 0:
            sys.stdout.write(" and ended\n")

    def _misbehave(self, rank: int) -> None:
        if self.how == f"{rank} raises":
            raise ValueError("the data is of last year")
        if self.how == f"{rank} refuses":
            raise TrainableError("the data is gone")
        if self.how == f"{rank} dies once" and not self.mark.exists():
            self.mark.touch()
            sys.stdout.write("its last words\n")
            os.kill(os.getpid(), signal.SIGKILL)

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {"epochs": self.epochs}

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.epochs = checkpoint["epochs"]
