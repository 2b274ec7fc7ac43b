"""Cost of a search whose trials only report twice: this project, and Ray Tune alone.

Run as `python -m tests.benchmarks.overhead [--trials 9 100 1000] [--plain-trials 9 100]`. It prints
the seconds to the first trial's end, of each trial after it and of the whole command, and the
memory, of both sides in turn. `--shown` adds this project with the table in a terminal, `--watch`
with somebody who looks, and the loggers that it names.
"""

import argparse
import json
import shlex
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from app.experiment.errors import ExperimentError
from app.experiment.logger_names import PACKAGES
from app.loggers import check_installed
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
STREAM = "http://127.0.0.1:8081/runs/noop/events"


def main() -> None:
    """Measure both sides in turn, and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="*", default=[9, 100, 1000])
    parser.add_argument("--plain-trials", type=int, nargs="*", default=[9, 100])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--shown", nargs="*", choices=sorted(PACKAGES), metavar="LOGGER")
    arguments = parser.parse_args()
    try:
        check_installed(arguments.shown or ())
    except ExperimentError as error:
        sys.exit(f"error: {error}")
    rows = []
    for trials in sorted({*arguments.trials, *arguments.plain_trials}):
        for _ in range(arguments.repeats):
            if trials in arguments.trials:
                rows.append(ours(trials))
                if arguments.shown is not None:
                    with looking():
                        rows.append(ours(trials, arguments.shown))
            if trials in arguments.plain_trials:
                rows.append(plain(trials))
    print(conditions("ray", "optuna"))
    print(table(rows))


def ours(trials: int, shown: Sequence[str] | None = None) -> dict[str, str]:
    """This project's command; the journal says when each trial ended.

    Args:
        trials: Number of trials.
        shown: Loggers, beside a terminal and the page; None for a pipe and neither.
    """
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        experiment = Path(folder, "noop.toml")
        experiment.write_text(EXPERIMENT.format(here=HERE))
        place = ["--runs", folder, "--name", "noop", "--num-samples", str(trials)]
        command = [sys.executable, "-m", "app.tune", str(experiment), *place]
        if shown is not None:
            loggers = [word for name in shown for word in ("--log-to", name)]
            # `script` gives it a terminal.
            line = shlex.join([*command, "--watch", *loggers])
            command = ["script", "--quiet", "--return", "--command", line, "/dev/null"]
        cost = measured(command, MLFLOW_TRACKING_URI=Path(folder, "mlruns").as_uri())
        events = map(json.loads, Path(folder, "noop/journal.jsonl").read_text().splitlines())
        ends = [event["run_seconds"] for event in events if event["event"] == "end"]
    # The journal's clock starts when Ray is there; the command's when it was typed.
    return row("ours" if shown is None else "ours, shown", trials, ends[-1] - ends[0], cost)


@contextmanager
def looking() -> Iterator[None]:
    """Look at the page of the run during the block, as a browser does, once it is there."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.5):
            with suppress(OSError, HTTPException), urlopen(STREAM, timeout=5) as stream:
                for line in stream:
                    if line.startswith(b"event: change"):
                        for part in ("body", "figures"):
                            urlopen(STREAM.replace("events", part), timeout=5).read()
                    if over.is_set():
                        return

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    yield
    over.set()
    thread.join()


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
        "CPU s": f"{cost.cpu_s:.1f}",
        "peak MB": f"{cost.peak_mb:.0f}",
    }


if __name__ == "__main__":
    main()
