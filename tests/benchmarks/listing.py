"""Time of `app.runs list` over many runs; it has no other side.

Run as `python -m tests.benchmarks.listing [--runs 10000] [--trials 9] [--repeats N]`.
"""

import argparse
import json
import tempfile
from pathlib import Path

from app.experiment import loading
from app.experiment.run_folder import JOURNAL
from app.run.journal import Journal
from app.run.layout import EXPERIMENT
from app.run.record import Record
from app.run.result_file import RESULT
from tests.benchmarks.meter import conditions, spread, table
from tests.benchmarks.start import seconds


def main() -> None:
    """Make the runs, list them several times, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--trials", type=int, default=9)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder, "runs")
        size = fill(runs, arguments.runs, arguments.trials)
        listing = ["app.runs", "list", "--runs", str(runs)]
        empty = ["app.runs", "list", "--runs", str(Path(folder, "none"))]
        many, none = [], []
        for _ in range(arguments.repeats):
            many.append(seconds(listing))
            none.append(seconds(empty))
    print(f"{conditions('tuneport')}; {arguments.runs} runs, a {RESULT} has {size} bytes")
    listings = {"no runs": none, f"{arguments.runs} runs": many}
    print(table([{"app.runs list": name, "s": spread(took)} for name, took in listings.items()]))


def fill(runs: Path, count: int, trials: int) -> int:
    """Make that many finished runs of one outcome; gives the bytes of their `result.json`."""
    contents = outcome(runs / "run-00000", trials)
    for number in range(1, count):
        folder = runs / f"run-{number:05d}"
        folder.mkdir()
        for name, content in contents.items():
            (folder / name).write_bytes(content)
    return len(contents[RESULT])


def outcome(folder: Path, trials: int) -> dict[str, bytes]:
    """The files of a finished run of six epochs a trial."""
    folder.mkdir(parents=True)
    (folder / EXPERIMENT).write_text(json.dumps(loading.load(None, {}).as_json(), indent=2))
    journal = Journal(folder, Record(folder.name, "average_test_loss", "min", seed=0))
    journal.append("run", versions={"ray": "2.60.0", "torch": "2.14.1", "optuna": "5.0.0"})
    for number in range(1, trials + 1):
        told = {"trial_id": f"{number:03d}"}
        journal.append("trial", **told, config={"lr": 0.1 / 3**number, "batch_size": 64}, leg=1)
        for epoch in range(1, 7):
            metrics = {"average_test_loss": 1 / (number + epoch), "test_accuracy": 0.9}
            journal.append(
                "epoch", **told, epoch=epoch, metrics=metrics, seconds=5.0, checkpoint=None
            )
        journal.append("end", **told, status="completed", error=None)
    journal.append("status", status="completed", reason=None)
    journal.close()
    return {name: (folder / name).read_bytes() for name in (EXPERIMENT, JOURNAL, RESULT)}


if __name__ == "__main__":
    main()
