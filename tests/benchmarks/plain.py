"""The other side of `overhead`: the same trials by Ray Tune alone.

It prints the time of every trial's end, in seconds since 1970, as one JSON list.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from ray import tune


class Ends(tune.Callback):
    """Notes when each trial ended."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_trial_complete(self, *arguments: Any, **named: Any) -> None:
        """A trial ended."""
        self.times.append(time.time())


def train(config: dict[str, Any]) -> None:
    """Report twice, with a checkpoint each, as every search that can be resumed does."""
    for _ in range(2):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "state").write_text("0")
            checkpoint = tune.Checkpoint.from_directory(folder)
            tune.report({"loss": config["x"]}, checkpoint=checkpoint)


def main() -> None:
    """Run the trials."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, required=True)
    parser.add_argument("--storage", required=True)
    arguments = parser.parse_args()
    ends = Ends()
    tuner = tune.Tuner(
        tune.with_resources(train, {"cpu": 0.66}),
        param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(
            metric="loss", mode="min", num_samples=arguments.trials, max_concurrent_trials=3
        ),
        run_config=tune.RunConfig(name="plain", storage_path=arguments.storage, callbacks=[ends]),
    )
    tuner.fit()
    print(json.dumps(ends.times))


if __name__ == "__main__":
    main()
