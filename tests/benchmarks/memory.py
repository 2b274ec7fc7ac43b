"""Memory of each further concurrent trial, above a process that imports torch and Ray.

Run as `python -m tests.benchmarks.memory [--repeats N]`. The built-in experiment trains for one
epoch, with one and with three trials at once; the difference of the peaks is compared with a
process that imports torch and Ray and does nothing. Shared pages count once, so the dataset counts
for one trial only.
"""

import argparse
import statistics
import sys
import tempfile

from tests.benchmarks.meter import conditions, measured, spread, table

BARE = "import torch, ray, time; time.sleep(3)"
MOST = 3


def main() -> None:
    """Measure in turn, and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    bare, alone, together = [], [], []
    for _ in range(repeats):
        bare.append(measured([sys.executable, "-c", BARE]).peak_mb)
        alone.append(peak(1))
        together.append(peak(MOST))
    further = [(many - one) / (MOST - 1) for many, one in zip(together, alone, strict=True)]
    above = [each - statistics.median(bare) for each in further]
    print(conditions("ray", "torch"))
    rows = {
        "a process that imports torch and ray": bare,
        "a run, one trial at once": alone,
        f"a run, {MOST} trials at once": together,
        "each further trial": further,
        "the same above the bare imports": above,
    }
    print(table([{"what": what, "peak MB": spread(values)} for what, values in rows.items()]))


def peak(at_once: int) -> float:
    """Megabytes of a run and all its processes at their most."""
    with tempfile.TemporaryDirectory(dir="/tmp") as runs:
        budget = ["--num-samples", str(MOST), "--epochs", "1", "--search", "random"]
        place = ["--runs", runs, "--max-concurrent", str(at_once)]
        # A third of the machine each, however many there are, so that each has one thread.
        command = [sys.executable, "-m", "app.tune", *budget, *place, "--cpus-per-trial", "0.66"]
        cost = measured(command)
        print(f"{at_once} at once: {cost.peak_mb:.0f} MB", file=sys.stderr)
        return cost.peak_mb


if __name__ == "__main__":
    main()
