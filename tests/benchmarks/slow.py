"""A trainable whose epochs take a moment and write a line each, for a crash to interrupt."""

import json
import time
from pathlib import Path
from typing import Any

from ray import tune


class Slow(tune.Trainable):
    """The loss is (x - 0.3)^2 + 1 / epochs; `log` has a line [x, epoch] for each that began."""

    def setup(self, config: dict[str, Any]) -> None:
        """Start afresh."""
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start afresh with another configuration."""
        self.values = new_config
        self.epochs = 0
        return True

    def step(self) -> dict[str, Any]:
        """One epoch."""
        with Path(self.values["log"]).open("a") as log:
            log.write(json.dumps([self.values["x"], self.epochs + 1]) + "\n")
        time.sleep(self.values["seconds"])
        self.epochs += 1
        return {"loss": (self.values["x"] - 0.3) ** 2 + 1 / self.epochs}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the epochs that are done."""
        Path(checkpoint_dir, "state.json").write_text(json.dumps(self.epochs))

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Go on from there."""
        self.epochs = json.loads(Path(checkpoint, "state.json").read_text())

    def model(self) -> Any:
        """One layer, so that a crash may fall into the export too."""
        from torch import nn

        return nn.Linear(1, 1)

    def example_input(self) -> Any:
        """Two zeros: (2, 1)."""
        import torch

        return torch.zeros(2, 1)
