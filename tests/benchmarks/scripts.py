"""Cost of tuning a script, above the same script by hand; and cost of a long log.

Run as `python -m tests.benchmarks.scripts [--trials 9] [--lines 100000]`. It prints the seconds of
a trial in a run and of the same program started by hand, and of a trial that prints so many lines
and of one that prints one.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.meter import conditions, table

SCRIPT = """
import argparse, time
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--lines", type=int)
arguments = parser.parse_args()
for line in range(arguments.lines):
    print(f"Train Epoch: 1 [{line}/100000 (0%)] Loss: 0.123456, accuracy is not read here")
print(f"Test set: Average loss: {arguments.lr:.4f}, Accuracy: 9410/10000 (94%)")
"""
EXPERIMENT = """
name = "script"
trainable = "script"
metric = "loss"
mode = "min"
num_samples = {trials}
max_concurrent = 1
search = "random"
[space]
lr = {{ type = "continuous", low = 0.0, high = 1.0 }}
[fixed]
lines = {lines}
[script]
entry_point = "train.py"
[[script.metrics]]
name = "loss"
regex = 'Test set: Average loss: ([0-9\\.]+)'
"""


def main() -> None:
    """Measure both, and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=9)
    parser.add_argument("--lines", type=int, default=100_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        rows = [row(Path(folder), arguments.trials, lines) for lines in (1, arguments.lines)]
    print(conditions("ray", "optuna"))
    print(table(rows))


def row(folder: Path, trials: int, lines: int) -> dict[str, str]:
    """The script by hand and in a run."""
    script = folder / "train.py"
    script.write_text(SCRIPT)
    alone = [by_hand(script, lines) for _ in range(trials)]
    tuned = in_a_run(folder, trials, lines)
    print(f"{lines} lines: alone {alone}, tuned {tuned}", file=sys.stderr)
    return {
        "lines": str(lines),
        "alone s": f"{statistics.median(alone):.3f}",
        "a trial s": f"{statistics.median(tuned):.3f}",
        "above it s": f"{statistics.median(tuned) - statistics.median(alone):.3f}",
        "most s": f"{max(tuned) - statistics.median(alone):.3f}",
    }


def by_hand(script: Path, lines: int) -> float:
    """Seconds of the script alone, its output unbuffered as in a container and in a file."""
    words = [sys.executable, "-u", str(script), "--lr", "0.1", "--lines", str(lines)]
    with tempfile.TemporaryFile(dir="/tmp") as log:
        began = time.perf_counter()
        subprocess.run(words, stdout=log, check=True)
        return time.perf_counter() - began


def in_a_run(folder: Path, trials: int, lines: int) -> list[float]:
    """Seconds from the end of one trial to that of the next, one at a time."""
    experiment = folder / "script.toml"
    experiment.write_text(EXPERIMENT.format(trials=trials, lines=lines))
    name = f"lines-{lines}"
    place = ["--runs", str(folder), "--name", name]
    words = [sys.executable, "-m", "app.tune", str(experiment), *place]
    subprocess.run(words, check=True, capture_output=True)
    events = map(json.loads, (folder / name / "journal.jsonl").read_text().splitlines())
    ends = [event["run_seconds"] for event in events if event["event"] == "end"]
    return [after - before for before, after in itertools.pairwise(ends)]


if __name__ == "__main__":
    main()
