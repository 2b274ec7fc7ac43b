"""Cost of the default run: this project, and the same search as Ray's documentation has it.

Run as `python -m tests.benchmarks.sweep [--fraction F] [--repeats N]`. Both sides run in turn; it
prints wall time, CPU time, peak memory and best loss of both. The whole data takes about half an
hour.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.fraction import FRACTION
from tests.benchmarks.meter import Cost, conditions, measured, spread, table
from trainables.data import PACKAGED

HERE = Path(__file__).parent
EXPERIMENT = """
name = "sweep"
trainable = "{trainable}"
metric = "average_test_loss"
mode = "min"
early_stopping = "{early_stopping}"
[space]
lr = {{ type = "continuous", low = 0.001, high = 0.1, scale = "log" }}
batch_size = {{ type = "categorical", values = [32, 64, 128, 256, 512] }}
[fixed]
momentum = 0.5
"""


def main() -> None:
    """Measure both sides in turn, and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fraction", type=float, default=1.0, help="part of the data (1)")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        data = unpacked(Path(folder))
        costs: dict[str, list[Cost]] = {"idiomatic": [], "ours": [], "ours, asha": []}
        for seed in range(arguments.repeats):
            shape = (arguments.fraction, arguments.epochs, seed)
            costs["idiomatic"].append(idiomatic(Path(folder), data, *shape))
            costs["ours"].append(ours(Path(folder), "off", *shape))
            costs["ours, asha"].append(ours(Path(folder), "asha", *shape))
    print(f"fraction {arguments.fraction}, {arguments.epochs} epochs, {arguments.repeats} times;")
    print(conditions("ray", "torch", "optuna"))
    print(table([row(side, costs) for side in costs]))


def unpacked(folder: Path) -> Path:
    """The packaged archives in torchvision's layout, which unpacks them there."""
    from torchvision.datasets import MNIST

    raw = folder / "data/MNIST/raw"
    raw.mkdir(parents=True)
    for archive in PACKAGED.glob("*.gz"):
        shutil.copy(archive, raw)
    MNIST(folder / "data", download=True)
    return folder / "data"


def idiomatic(folder: Path, data: Path, fraction: float, epochs: int, seed: int) -> Cost:
    """Program as the documentation teaches it; its last line is its best loss."""
    flags = {"data": data, "storage": folder, "fraction": fraction, "epochs": epochs, "seed": seed}
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    cost = measured([sys.executable, "-m", "tests.benchmarks.idiomatic", *words])
    print(f"idiomatic: {cost.wall_s:.0f} s", file=sys.stderr)
    return cost


def ours(folder: Path, early_stopping: str, fraction: float, epochs: int, seed: int) -> Cost:
    """The default run, export included; `result.json` on stdout."""
    trainable = "mnist" if fraction == 1 else f"{HERE / 'fraction.py'}:FractionMnist"
    experiment = folder / "sweep.toml"
    experiment.write_text(EXPERIMENT.format(trainable=trainable, early_stopping=early_stopping))
    place = ["--runs", str(folder / "runs"), "--name", f"{early_stopping}-{seed}", "--json"]
    budget = ["--epochs", str(epochs), "--seed", str(seed)]
    command = [sys.executable, "-m", "app.tune", str(experiment), *place, *budget]
    cost = measured(command, **{FRACTION: str(fraction)})
    print(f"ours, early stopping {early_stopping}: {cost.wall_s:.0f} s", file=sys.stderr)
    return cost


def row(side: str, costs: dict[str, list[Cost]]) -> dict[str, str]:
    """One side's medians, and its wall time as a part of the other way's."""
    mine, theirs = costs[side], costs["idiomatic"]
    ratios = [a.wall_s / b.wall_s for a, b in zip(mine, theirs, strict=True)]
    return {
        "side": side,
        "wall s": spread([cost.wall_s for cost in mine]),
        "ratio": f"{statistics.median(ratios):.3f}",
        "CPU s": spread([cost.cpu_s for cost in mine]),
        "peak MB": spread([cost.peak_mb for cost in mine]),
        "best loss": ", ".join(f"{best_loss(cost):.4f}" for cost in mine),
    }


def best_loss(cost: Cost) -> float:
    """The best average test loss that a side found."""
    if cost.out.startswith("{"):
        return float(json.loads(cost.out)["best"]["metrics"]["average_test_loss"])
    return float(cost.out.strip().splitlines()[-1])


if __name__ == "__main__":
    main()
