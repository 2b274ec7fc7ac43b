"""Regret of searches replayed without training: this project's, Optuna's and Ray's.

Run as `python -m tests.benchmarks.replay samplers | stopping`. Three trials run at a time, each as
long as its recorded epochs, over at least 200 seeds. A search's regret is the true loss of the
trial that it would choose, minus the least loss known. `samplers` compares samplers after 9 and
after 30 trials; this project's suggest by `app.search.proposals`, as in a run. `stopping` compares
early-stopping rules over the recorded learning curves: epochs trained, and regret.
"""

import argparse
import heapq
import math
import multiprocessing
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from ray.air.constants import TRAINING_ITERATION

from app.experiment.distributions import Categorical
from app.experiment.objective import Objective
from app.experiment.space import Space
from app.search.proposals import Proposals
from app.search.samplers import SAMPLERS
from app.search.schedulers import SCHEDULERS
from app.search.successive_halving import SuccessiveHalving
from tests.benchmarks.meter import conditions, table
from tests.benchmarks.surfaces import LOSS, SURFACES, Surface, Trained

if TYPE_CHECKING:
    import optuna
    from optuna.samplers import BaseSampler

CONCURRENT = 3


Config = dict[str, Any]
Points = Callable[[Space, int], list[dict[str, Any]]]
"""Configurations to evaluate first, by space and seed."""


def _no_points(space: Space, seed: int) -> list[dict[str, Any]]:
    return []


def _middle(space: Space, seed: int) -> list[dict[str, Any]]:
    return [space.middle()]


def _scrambled(space: Space, seed: int) -> list[dict[str, Any]]:
    """Return the first three points of a Sobol sequence that is scrambled by the seed."""
    from scipy.stats import qmc

    return [
        space.at(fractions)
        for fractions in qmc.Sobol(len(space.parameters), rng=seed).random(4)[:3]
    ]


@dataclass(frozen=True)
class Arm:
    """A way to propose configurations."""

    sampler: Callable[[int, int], "BaseSampler"]
    """By seed and number of finished trials."""
    points: Points = _no_points
    anew: bool = True
    """Whether each suggestion has a sampler of its own, as in a run."""
    ordered: bool = True
    """Whether numeric categories are given as their ordered index."""
    search: str | None = None
    """The search of ours that it is, which a run's own searcher replays."""


def _optuna(kind: str, **settings: Any) -> Callable[[int, int], "BaseSampler"]:
    return partial(_built, kind, settings)


def _built(kind: str, settings: Mapping[str, Any], seed: int, finished: int) -> "BaseSampler":
    import optuna
    import torch

    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler: BaseSampler = getattr(optuna.samplers, kind)(seed=seed, **settings)
        return sampler


def _tpe(startup: int, **how: Any) -> Arm:
    return Arm(_optuna("TPESampler", n_startup_trials=startup), **how)


def _gp(startup: int, **how: Any) -> Arm:
    settings = {"n_startup_trials": startup, "deterministic_objective": True}
    return Arm(_optuna("GPSampler", **settings), **how)


def _ours(name: str) -> Arm:
    return Arm(SAMPLERS[name].build, search=name)


def _sobol(space: Space, seed: int) -> list[dict[str, Any]]:
    return SAMPLERS["bayesian"].points(space)


ARMS: Mapping[str, Arm] = {
    "TPE as it comes": Arm(_optuna("TPESampler"), anew=False, ordered=False),
    "random": Arm(_optuna("RandomSampler")),
    "TPE, 5 at random": _tpe(5, ordered=False),
    "TPE, 3 at random": _tpe(3, ordered=False),
    "TPE, 3 at random, ordered": _tpe(3),
    "TPE, 3, ordered, middle first": _tpe(3, points=_middle),
    "tpe: 3, ordered, Sobol's first": _ours("tpe"),
    "GP as it comes": Arm(_optuna("GPSampler"), anew=False, ordered=False),
    "GP, 3 at random": _gp(3, ordered=False),
    "GP, 3 at random, ordered": _gp(3),
    "GP, 3, ordered, middle first": _gp(3, points=_middle),
    "GP, 1, ordered, middle first": _gp(1, points=_middle),
    "GP, 1, ordered, scrambled Sobol's first": _gp(1, points=_scrambled),
    "GP, 1, ordered, Sobol's first": _gp(1, points=_sobol),
    "GP, 1, the same, noise": Arm(_optuna("GPSampler", n_startup_trials=1), points=_sobol),
    "bayesian: the same, values warped": _ours("bayesian"),
}
BAYESIAN = list(ARMS)[-1]


_Rule = Callable[[int], Any]


def _rule(kind: str, **settings: Any) -> _Rule:
    def build(epochs: int) -> Any:
        from ray.tune import schedulers

        longest = {} if kind == "MedianStoppingRule" else {"max_t": epochs}
        return getattr(schedulers, kind)(time_attr=TRAINING_ITERATION, **longest, **settings)

    return build


def _median(**settings: Any) -> _Rule:
    return _rule("MedianStoppingRule", min_time_slice=math.inf, **settings)


def _scheduler(name: str) -> _Rule:
    return lambda epochs: SCHEDULERS[name]()


OFF = _scheduler("off")
STOPPING: Mapping[str, _Rule] = {
    "off": OFF,
    "Ray's median (60 s of grace)": _median(grace_period=60),
    "Ray's ASHA (factor 4)": _rule("ASHAScheduler"),
    "median, grace 1, 2 trials": _median(grace_period=1, min_samples_required=2),
    "median, grace 1, 5 trials": _median(grace_period=1, min_samples_required=5),
    "median, grace 2, 3 trials": _median(grace_period=2, min_samples_required=3),
    "ASHA, factor 1.5, grace 1": _rule("ASHAScheduler", reduction_factor=1.5),
    "ASHA, factor 2, grace 2": _rule("ASHAScheduler", reduction_factor=2, grace_period=2),
    "ASHA, factor 3, grace 1": _rule("ASHAScheduler", reduction_factor=3),
    "ASHA, factor 3, grace 2": _rule("ASHAScheduler", reduction_factor=3, grace_period=2),
    "halving, keeps 1/2": lambda epochs: SuccessiveHalving(keep=1 / 2),
    "halving, keeps 1/4": lambda epochs: SuccessiveHalving(keep=1 / 4),
    "median": _scheduler("median"),
    "asha": _scheduler("asha"),
}


class Proposer(Protocol):
    """Gives trials their configurations."""

    def suggest(self, number: int) -> Config | None:
        """The configuration of the trial that starts now."""
        ...

    def tell(self, number: int, value: float | None) -> None:
        """Take in a trial's value."""
        ...


class Plain:
    """Optuna's study with a sampler, and points to begin with."""

    def __init__(self, space: Space, arm: Arm, seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.space, self.arm, self.seed = space, arm, seed
        self.study: optuna.Study = optuna.create_study(sampler=arm.sampler(seed, 0))
        self.points = arm.points(space, seed)
        self.asked: list[Any] = []
        self.finished = 0

    def suggest(self, number: int) -> Config:
        """Give the sampler's proposal, or the next point."""
        if self.arm.anew:
            # Any two numbers give another seed; a run's own seeds are as good.
            self.study.sampler = self.arm.sampler(self.seed * 1000 + number, self.finished)
        if number < len(self.points):
            self.study.enqueue_trial(self.space.encode(self.points[number]))
        self.asked.append(self.study.ask())
        return _suggested(self.space, self.asked[-1], self.arm.ordered)

    def tell(self, number: int, value: float | None) -> None:
        """Tell the study."""
        self.study.tell(self.asked[number], value)
        self.finished += 1


def _proposer(space: Space, arm: Arm, seed: int) -> Proposer:
    if arm.search is None:
        return Plain(space, arm, seed)
    return Proposals(space, arm.search, seed=seed, objective=Objective(LOSS, "min"))


@dataclass
class Outcome:
    """One replayed search."""

    values: list[tuple[float, float]] = field(default_factory=list)
    """The best observed loss and its true loss, by trial, in the order of their starts."""
    epochs: int = 0
    busy: float = 0.0
    """Seconds of training."""
    thinking: list[float] = field(default_factory=list)
    """Seconds of each suggestion."""

    def regret(self, trials: int, best: float) -> float:
        """Give the regret of the pick of the first trials."""
        return min(self.values[:trials])[1] - best


@dataclass(frozen=True, eq=False)
class _Trial:
    """Trial as a scheduler and the replay see it."""

    trial_id: str
    trained: Trained


def replay(surface: Surface, arm: Arm, trials: int, seed: int, rule: _Rule = OFF) -> Outcome:
    """Replay one search, three trials at a time, in the time that training would have taken."""
    return _Search(surface, arm, trials, seed, rule).run()


class _Search:
    def __init__(self, surface: Surface, arm: Arm, trials: int, seed: int, rule: _Rule) -> None:
        self.surface, self.trials, self.seed = surface, trials, seed
        self.proposer = _proposer(surface.space, arm, seed)
        epochs = len(surface.train(surface.space.middle(), 0).losses)
        self.scheduler = rule(epochs)
        self.scheduler.set_search_properties(LOSS, "min")
        self.outcome = Outcome()
        self.reports: list[tuple[float, int, int]] = []
        """A heap of the time, the trial and the epoch of each report to come."""
        self.started: list[_Trial] = []

    def run(self) -> Outcome:
        for _ in range(CONCURRENT):
            self._start(0.0)
        while self.reports:
            now, number, epoch = heapq.heappop(self.reports)
            if self._ends(number, epoch):
                self._start(now)
            else:
                self._expect(now, number, epoch + 1)
        return self.outcome

    def _start(self, now: float) -> None:
        number = len(self.started)
        if number == self.trials:
            return
        began = time.perf_counter()
        config = self.proposer.suggest(number)
        assert config is not None  # no surface has so few configurations
        self.outcome.thinking.append(time.perf_counter() - began)
        trained = self.surface.train(config, self.seed)
        trial = _Trial(str(number), trained)
        self.started.append(trial)
        self.outcome.values.append((math.inf, math.inf))
        self.scheduler.on_trial_add(None, trial)
        self._expect(now, number, 1)

    def _expect(self, now: float, number: int, epoch: int) -> None:
        seconds = float(self.started[number].trained.seconds[epoch - 1])
        self.outcome.busy += seconds
        heapq.heappush(self.reports, (now + seconds, number, epoch))

    def _ends(self, number: int, epoch: int) -> bool:
        """Take a report; return whether it ends the trial."""
        trial = self.started[number]
        seen = float(trial.trained.losses[:epoch].min())
        true = float(trial.trained.true_losses[:epoch].min())
        self.outcome.values[number] = (seen, true)
        self.outcome.epochs += 1
        last = epoch == len(trial.trained.losses)
        result = {TRAINING_ITERATION: epoch, LOSS: float(trial.trained.losses[epoch - 1])}
        if not last and self.scheduler.on_trial_result(None, trial, result) != self.scheduler.STOP:
            return False
        self.scheduler.on_trial_complete(None, trial, result)
        self.proposer.tell(number, seen)
        return True


def _suggested(space: Space, trial: "optuna.Trial", ordered: bool) -> dict[str, Any]:
    """Return a configuration, with numeric categories in their order or as mere names."""
    if ordered:
        return space.suggest(trial)
    return {
        name: trial.suggest_categorical(name, parameter.values)
        if isinstance(parameter, Categorical)
        else parameter.suggest(trial, name)
        for name, parameter in space.parameters.items()
    }


def _one(task: tuple[str, str, str, int], trials: int) -> Outcome:
    surface, arm, rule, seed = task
    return replay(_surface(surface), ARMS[arm], trials, seed, STOPPING[rule])


_BUILT: dict[str, Surface] = {}


def _surface(name: str) -> Surface:
    if name not in _BUILT:
        _BUILT[name] = SURFACES[name]()
    return _BUILT[name]


def _outcomes(
    pool: ProcessPoolExecutor, surface: str, arm: str, rule: str, trials: int, seeds: int
) -> list[Outcome]:
    tasks = [(surface, arm, rule, seed) for seed in range(seeds)]
    began = time.perf_counter()
    outcomes = list(pool.map(partial(_one, trials=trials), tasks, chunksize=5))
    print(f"{surface}, {arm}, {rule}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return outcomes


def samplers(
    pool: ProcessPoolExecutor, names: Sequence[str], arms: Sequence[str], trials: int, seeds: int
) -> Iterator[dict[str, str]]:
    """Yield the regret after 9 trials and after all, relative to the first sampler's."""
    for surface in names:
        theirs: dict[int, float] = {}
        for arm in arms:
            outcomes = _outcomes(pool, surface, arm, "off", trials, seeds)
            cells = {"space": surface, "sampler": arm}
            for after in sorted({min(9, trials), trials}):
                regrets = [outcome.regret(after, _surface(surface).best) for outcome in outcomes]
                theirs.setdefault(after, statistics.mean(regrets))
                cells |= _regret_cells(f"{after} trials: ", regrets, theirs[after])
            thinking = [seconds for outcome in outcomes for seconds in outcome.thinking[-3:]]
            yield {**cells, "ms a suggestion": f"{1000 * statistics.median(thinking):.0f}"}


def stopping(
    pool: ProcessPoolExecutor, rules: Sequence[str], trials: int, seeds: int
) -> Iterator[dict[str, str]]:
    """Yield epochs, training time and regret over the recorded curves, relative to no stopping."""
    whole: list[Outcome] = []
    for rule in rules:
        outcomes = _outcomes(pool, "mnist", BAYESIAN, rule, trials, seeds)
        whole = whole or outcomes
        regrets, unstopped = (
            [outcome.regret(trials, _surface("mnist").best) for outcome in some]
            for some in (outcomes, whole)
        )
        yield {
            "rule": rule,
            "epochs": f"{_total(outcomes, 'epochs') / _total(whole, 'epochs'):.2f}",
            "training time": f"{_total(outcomes, 'busy') / _total(whole, 'busy'):.2f}",
            **_regret_cells("", regrets, statistics.mean(unstopped)),
        }


def _total(outcomes: Sequence[Outcome], what: str) -> float:
    return float(sum(getattr(outcome, what) for outcome in outcomes))


def _regret_cells(prefix: str, regrets: Sequence[float], theirs: float) -> dict[str, str]:
    mean, error = statistics.mean(regrets), statistics.stdev(regrets) / math.sqrt(len(regrets))
    return {
        f"{prefix}mean regret": f"{mean:.5f} ± {error:.5f}",
        f"{prefix}ratio": f"{mean / theirs:.2f}",
        f"{prefix}median": f"{statistics.median(regrets):.5f}",
        f"{prefix}p90": f"{statistics.quantiles(regrets, n=10)[-1]:.5f}",
    }


def main() -> None:
    """Replay samplers or early stopping, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("samplers", "stopping"))
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--trials", type=int, default=9)
    parser.add_argument("--spaces", nargs="*", default=list(SURFACES), choices=SURFACES)
    parser.add_argument("--only", nargs="*", help="of the samplers or rules, the first as 1")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    # More threads would compete for the small matrices.
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.processes, spawned) as pool:
        size = (arguments.trials, arguments.seeds)
        if arguments.what == "samplers":
            rows = samplers(pool, arguments.spaces, arguments.only or list(ARMS), *size)
        else:
            rows = stopping(pool, arguments.only or list(STOPPING), *size)
        listed = list(rows)
    print(f"{arguments.seeds} seeds, {arguments.trials} trials; {conditions('optuna', 'ray')}")
    print(table(listed))


if __name__ == "__main__":
    main()
