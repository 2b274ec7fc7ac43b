"""A trainable that only reports, so that all that is measured is the search."""

from pathlib import Path
from typing import Any

from ray import tune


class Noop(tune.Trainable):
    """Reports its parameter."""

    def setup(self, config: dict[str, Any]) -> None:
        """Keep the configuration."""
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Keep another one."""
        self.x = new_config["x"]
        return True

    def step(self) -> dict[str, Any]:
        """Report."""
        return {"loss": self.x}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """A checkpoint of one byte."""
        Path(checkpoint_dir, "state").write_text("0")

    def load_checkpoint(self, checkpoint: Any) -> None:
        """There is nothing to load."""
