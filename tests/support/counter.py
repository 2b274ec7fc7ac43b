"""A trainable that counts."""

from pathlib import Path
from typing import Any

import torch
from ray import tune

from app.experiment.result_keys import CONTROL
from trainables.contract import TrainableError


class Counter(tune.Trainable):
    """Counts its epochs; `raises` names what is to go wrong."""

    def setup(self, config: dict[str, Any]) -> None:
        if config.get("raises") == "setup":
            raise ValueError("no such data")
        self.seen = dict(config)
        self.count = 0

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        if isinstance(self.seen.get("raises"), BaseException):
            raise self.seen["raises"]
        if self.seen.get("raises") == "step":
            raise TrainableError("the data is gone")
        if "reports_alone" in self.seen:
            return dict(self.seen["reports_alone"])
        self.count += 1
        return {"loss": 1 / self.count, **self.seen.get("reports", {})}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        Path(checkpoint_dir, "count").write_text(str(self.count))

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.count = int(Path(checkpoint, "count").read_text())


def with_control(*saved: tuple[int, str], **config: Any) -> dict[str, Any]:
    return {**config, CONTROL: {"trial_id": "001", "checkpoints": list(saved), "attempt": 1}}


class Mislabelled(Counter):
    """Has two labels for three outputs."""

    labels = ("a", "b")

    def model(self) -> torch.nn.Module:
        return torch.nn.Linear(4, 3)

    def example_input(self) -> torch.Tensor:
        return torch.zeros(2, 4)
