"""A trainable that costs nothing: a parabola whose minimum an epoch comes nearer to.

It is given as a file, as a user's own is. `fails`, `fails_once`, `diverges`, `hangs`, `hogs`,
`bulk` and `gate` make it misbehave.
"""

import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

from ray import tune


class Quadratic(tune.Trainable):
    """The loss is (x - 0.3)^2 + 1 / epochs."""

    def setup(self, config: dict[str, Any]) -> None:
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.values = new_config
        self.epochs = 0
        return True

    def step(self) -> dict[str, Any]:
        values = self.values
        if "log" in values:
            with Path(values["log"]).open("a") as log:
                print(json.dumps([values["x"], self.epochs + 1, os.getpid()]), file=log)
        if values["x"] > values.get("fails", math.inf):
            raise RuntimeError("too far out")
        if "fails_once" in values and not Path(values["fails_once"]).exists() and self.epochs:
            Path(values["fails_once"]).touch()
            raise RuntimeError("the first time only")
        if values["x"] > values.get("hogs", math.inf):
            self.hoard = b"1" * int(values["bytes"])
            time.sleep(1000)  # until the machine's memory is looked at
        if values["x"] > values.get("hangs", math.inf):
            sys.stdout.write("about to hang\n")
            time.sleep(1000)
        while "gate" in values and self.epochs >= 1 and not Path(values["gate"]).exists():
            time.sleep(0.01)  # held here until the test opens the gate
        self.epochs += 1
        loss = (values["x"] - 0.3) ** 2 + 1 / self.epochs
        return {"loss": math.nan if values["x"] > values.get("diverges", math.inf) else loss}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        Path(checkpoint_dir, "state.json").write_text(json.dumps(self.epochs))
        Path(checkpoint_dir, "bulk").write_bytes(bytes(self.values.get("bulk", 0)))

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.epochs = json.loads(Path(checkpoint, "state.json").read_text())
