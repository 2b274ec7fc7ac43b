"""Time and size of a run's report: `python -m tests.benchmarks.report`.

A run of 1,000 trials of 6 epochs is written without training, and its report made of it.
"""

import argparse
import tempfile
import time
from pathlib import Path

from app.report.page import write_report
from app.run import store
from tests.support.searches import write_search


def main() -> None:
    """Print the seconds that a report takes, and its megabytes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=6)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        write_search(run, arguments.trials, epochs=arguments.epochs)
        for attempt in ("first, with imports", "again"):
            began = time.perf_counter()
            file = write_report(store.read(run))
            took = time.perf_counter() - began
            print(f"{attempt}: {took:.2f} s, {file.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
