"""Cost of loggers, without a search: `python -m tests.benchmarks.loggers mlflow wandb`.

A process appends the events of trials of two epochs to a journal as fast as it can. Its CPU time,
with that of the processes that it starts, is compared with that of one that logs to Ray's metrics
alone, which every run does. Ray Tune and torch are loaded before, as a search has them.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from app.loggers import following
from app.run.journal import Journal
from tests.benchmarks.meter import conditions, spread, table
from tests.support.journals import end, epoch, record, start
from tests.support.loggers import experiment

ALONE = "import ray.tune, torch\nfrom tests.benchmarks.loggers import log\nlog({names}, {trials})"


def main() -> None:
    """Measure each logger and print what it takes once and for each trial."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", metavar="LOGGER")
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    rows = []
    for name in arguments.names:
        once_s, trial_ms = [], []
        for _ in range(arguments.repeats):
            none = cost_s([name], 1) - cost_s([], 1)
            many = cost_s([name], arguments.trials) - cost_s([], arguments.trials)
            once_s.append(none)
            trial_ms.append((many - none) / (arguments.trials - 1) * 1000)
        rows.append({"logger": name, "once s": spread(once_s), "a trial ms": spread(trial_ms)})
    print(conditions("ray"))
    print(table(rows))


def cost_s(names: Sequence[str], trials: int) -> float:
    """CPU seconds of a process that logs trials, and of its children."""
    with tempfile.TemporaryDirectory() as folder:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        program = ALONE.format(names=list(names), trials=trials)
        place = {"PYTHONPATH": str(Path.cwd()), "MLFLOW_TRACKING_URI": Path(folder).as_uri()}
        command = [sys.executable, "-c", program]
        subprocess.run(command, cwd=folder, env={**os.environ, **place}, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def log(names: Sequence[str], trials: int) -> None:
    """Log trials of two epochs in the folder of this process."""
    journal = Journal(Path.cwd(), record())
    with following(journal, experiment(*names), print):
        for number in range(1, trials + 1):
            trial_id = f"{number:03}"
            start(journal, trial_id, lr=0.1, batch_size=64)
            epoch(journal, trial_id, 1, 1.0)
            epoch(journal, trial_id, 2, 0.5)
            end(journal, trial_id, "completed")
        journal.append("status", status="completed", reason=None)
    journal.close()


if __name__ == "__main__":
    main()
