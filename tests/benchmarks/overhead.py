"""Cost of a search whose trials only report twice: this project, and Ray Tune alone.

Run as `python -m tests.benchmarks.overhead [--trials 9 100 1000] [--plain-trials 9 100]`. It prints
the seconds to the first trial's end, of each trial after it and of the whole command, and the
memory, of both sides in turn.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.meter import Cost, conditions, measured, table

HERE = Path(__file__).parent
EXPERIMENT = """
name = "noop"
trainable = "{here}/noop.py:Noop"
metric = "loss"
mode = "min"
epochs = 2
search = "random"
[space]
x = {{ type = "continuous", low = 0.0, high = 1.0 }}
"""


def main() -> None:
    """Measure both sides in turn, and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="*", default=[9, 100, 1000])
    parser.add_argument("--plain-trials", type=int, nargs="*", default=[9, 100])
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args()
    rows = []
    for trials in sorted({*arguments.trials, *arguments.plain_trials}):
        for repeat in range(arguments.repeats):
            if trials in arguments.trials:
                rows.append(ours(trials, repeat))
            if trials in arguments.plain_trials:
                rows.append(plain(trials))
    print(conditions("ray", "optuna"))
    print(table(rows))


def ours(trials: int, repeat: int) -> dict[str, str]:
    """This project's command; the journal says when each trial ended."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        experiment = Path(folder, "noop.toml")
        experiment.write_text(EXPERIMENT.format(here=HERE))
        place = ["--runs", folder, "--name", "noop", "--num-samples", str(trials)]
        command = [sys.executable, "-m", "app.tune", str(experiment), *place]
        cost = measured(command)
        events = map(json.loads, Path(folder, "noop/journal.jsonl").read_text().splitlines())
        ends = [event["run_seconds"] for event in events if event["event"] == "end"]
    # The journal's clock starts when Ray is there; the command's when it was typed.
    return row("ours", trials, ends[-1] - ends[0], cost)


def plain(trials: int) -> dict[str, str]:
    """Ray Tune as it comes."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        began = time.time()
        words = ["--trials", str(trials), "--storage", folder]
        cost = measured([sys.executable, "-m", "tests.benchmarks.plain", *words])
        ends = [end - began for end in json.loads(cost.out.strip().splitlines()[-1])]
    return row("Ray Tune", trials, ends[-1] - ends[0], cost)


def row(side: str, trials: int, after_first_s: float, cost: Cost) -> dict[str, str]:
    """Result of one side."""
    print(f"{side}, {trials} trials: {cost.wall_s:.1f} s", file=sys.stderr)
    return {
        "side": side,
        "trials": str(trials),
        "whole command s": f"{cost.wall_s:.1f}",
        "a trial after the first s": f"{after_first_s / (trials - 1):.3f}",
        "CPU s": f"{cost.cpu_s:.0f}",
        "peak MB": f"{cost.peak_mb:.0f}",
    }


if __name__ == "__main__":
    main()
