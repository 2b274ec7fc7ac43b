"""Projection of the number of trials at which the driver of a large cluster falls behind.

Run as `python -m tests.benchmarks.projection --trial-s 0.05`. The driver writes every epoch and
suggests every trial, and the time that each takes grows with the run's trials. This measures each
part at growing numbers of trials, fits a line, and prints at how many trials that part alone takes
all of the driver's time. `--trial-s` is the time of a trial in Ray Tune and everything else, which
`tests.benchmarks.nodes cost` measures, and `--growth-s` its growth over each thousand trials.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.experiment import schema
from app.run.journal import Journal
from app.run.record import Record
from app.run.status import TrialStatus
from app.run.trial import Epoch, Trial
from app.search.searcher import JournalSearcher
from tests.benchmarks.meter import conditions, table

PUBLISHED_RESULTS_PER_S = 500
"""Events a second that one driver handles by Ray's page on Tune's scalability, without logging."""
REPEATS = 7
"""Of so many the least counts: whatever else runs on the machine only adds."""
EVENTS_BESIDE_EPOCHS = 2
"""A trial's start and its end."""
TABLE = {
    "name": "projection",
    "trainable": "mnist",
    "metric": "loss",
    "mode": "min",
    "search": "random",
    "space": {"x": {"type": "continuous", "low": 0.0, "high": 1.0}},
}


@dataclass(frozen=True)
class Load:
    """A run on a great cluster."""

    nodes: int
    trials: int
    per_node: int
    epochs: int
    epoch_s: float

    @property
    def events_per_s(self) -> float:
        """Events a second that the driver receives while all nodes train."""
        a_trial = self.epochs + EVENTS_BESIDE_EPOCHS
        return self.nodes * self.per_node * a_trial / (self.epochs * self.epoch_s)

    @property
    def trials_per_s(self) -> float:
        """How many trials end in a second, and as many begin."""
        return self.nodes * self.per_node / (self.epochs * self.epoch_s)


@dataclass(frozen=True)
class Part:
    """Driver's time for each event, or each trial, as a line over the run's trials."""

    name: str
    per_s: float
    """How often the load asks for it."""
    base_s: float
    growth_s: float
    """How much longer it takes for each trial that the run has."""

    def takes_s(self, trials: int) -> float:
        """How long it takes once."""
        return self.base_s + self.growth_s * trials

    @property
    def most_trials(self) -> float:
        """With how many trials it takes all of the driver's time."""
        room = 1 / self.per_s - self.base_s
        if room <= 0:
            return 0.0
        return room / self.growth_s if self.growth_s > 0 else float("inf")

    def row(self, load: Load) -> dict[str, str]:
        """The part in cells."""
        takes = self.takes_s(load.trials)
        most = self.most_trials
        return {
            "what": self.name,
            "a second": f"{self.per_s:.1f}",
            "base ms": f"{self.base_s * 1e3:.2f}",
            "and ms for each 1,000 trials": f"{self.growth_s * 1e6:.3f}",
            f"ms at {load.trials:,}": f"{takes * 1e3:.1f}",
            "of the driver's time": f"{takes * self.per_s:.0%}",
            "breaks at trials": "never" if most == float("inf") else f"{most:,.0f}",
        }


def main() -> None:
    """Measure, project, and name what breaks first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--per-node", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--epoch-s", type=float, default=60.0)
    parser.add_argument("--trial-s", type=float, required=True)
    parser.add_argument("--growth-s", type=float, default=0.0)
    parser.add_argument("--sizes", type=int, nargs="*", default=[1000, 4000, 16000])
    given = parser.parse_args()
    load = Load(given.nodes, given.trials, given.per_node, given.epochs, given.epoch_s)
    parts = [
        Part("journal and result.json", load.events_per_s, *line(given.sizes, journal_s)),
        Part("proposing a trial", load.trials_per_s, *line(given.sizes, suggestion_s)),
        Part("Ray Tune and the rest", load.trials_per_s, given.trial_s, given.growth_s / 1000),
    ]
    print(conditions("ray", "optuna"))
    print(f"{load}: {load.events_per_s:.0f} events a second")
    print(table([part.row(load) for part in sorted(parts, key=lambda part: part.most_trials)]))
    first = min(parts, key=lambda part: part.most_trials)
    if first.most_trials < load.trials:
        print(f"first to break: {first.name}, at {first.most_trials:,.0f} trials")
    else:
        print(f"nothing breaks; closest: {first.name}")
    share = load.events_per_s / PUBLISHED_RESULTS_PER_S
    print(f"of the results a second that Ray's page gives one driver: {share:.0%}")


def line(sizes: Sequence[int], measure: Callable[[int], float]) -> tuple[float, float]:
    """Base and growth of what is measured at these numbers of trials."""
    slope, intercept = statistics.linear_regression(sizes, [measure(size) for size in sizes])
    return max(0.0, intercept), max(0.0, slope)


def journal_s(trials: int) -> float:
    """How long an epoch takes to be written where the run has so many trials that ended."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        journal = Journal(Path(folder), Record("projection", "loss", "min", 0))
        journal.append("run", versions={})
        # As if they had all been told of, without writing each: that is what is measured.
        for number in range(1, trials + 1):
            journal.record.trials[f"{number:03}"] = ended(number)
        newest = f"{trials + 1:03}"
        now: dict[str, Any] = {"trial_id": newest, "metrics": {"loss": 0.5}, "seconds": 1.0}
        journal.record.trials[newest] = Trial(newest, {"x": 0.5}, status=TrialStatus.RUNNING)
        took = [
            timed(lambda: journal.append("epoch", **now, epoch=1, checkpoint=None))
            for _ in range(REPEATS + 1)
        ]
        journal.close()
    # The first tells the trials that ended, which is done once for each.
    return min(took[1:])


def suggestion_s(trials: int) -> float:
    """How long random search takes for a proposal where the run has so many trials that ended."""
    earlier = Record("projection", "loss", "min", 0)
    earlier.trials = {f"{number:03}": ended(number) for number in range(1, trials + 1)}
    searcher = JournalSearcher(schema.from_table(TABLE), earlier)
    return min(
        timed(lambda number=number: searcher.suggest(f"t{number}"))  # type: ignore[misc]
        for number in range(REPEATS)
    )


def ended(number: int) -> Trial:
    """A trial that ended."""
    history = [Epoch(epoch, {"loss": 1 / epoch}) for epoch in range(1, 7)]
    config = {"x": number / 1e6}
    trial_id = f"{number:03}"
    return Trial(
        trial_id, config, TrialStatus.COMPLETED, history, history[-1], {6: f"tune/{trial_id}/c"}
    )


def timed(act: Callable[[], Any]) -> float:
    """How long something takes of the processor; the disk's own time would come on top."""
    began = time.thread_time()
    act()
    return time.thread_time() - began


if __name__ == "__main__":
    main()
