"""Trials that a search wastes on failures and repeats: this project's, and Optuna's samplers.

Run as `python -m tests.benchmarks.proposals failures | repeats`. Searches have nine trials, one or
three at a time, which all take equally long: a failure is known only after the time of a success.
`failures` counts trials that fail in a space whose better side fails, over 20 seeds; `repeats`
counts trials whose configuration another trial had, over eight. Optuna's samplers, which ignore
failed trials, run with their defaults.
"""

import argparse
import math
import os
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.experiment.objective import Objective
from app.experiment.space import Space, identity, parse
from app.search.proposals import Proposals
from app.search.samplers import SAMPLERS
from tests.benchmarks.meter import conditions, table

Config = dict[str, Any]
Train = Callable[[Config], float | None]
"""A configuration's loss; None where it fails."""
TRIALS = 9
AT_ONCE = (1, 3)
LR = {"type": "continuous", "low": 0.001, "high": 0.1, "scale": "log"}
OPTUNA_SAMPLERS = {"bayesian": "GPSampler", "tpe": "TPESampler"}
"""Optuna's samplers that are compared, by the names of ours."""


@dataclass(frozen=True)
class Task:
    """A space, and the losses of its configurations."""

    space: Space
    train: Train
    best: float
    """The least loss, or its limit."""


def _small_rates_die(config: Config) -> float | None:
    return None if config["lr"] < 0.008 else float(config["lr"])


def _does_not_fit(config: Config) -> float | None:
    size = config["hidden"] * config["batch"]
    return None if size > 40_000 else -math.log2(size)


def _sum(config: Config) -> float:
    return float(sum(value for value in config.values() if not isinstance(value, str)))


FAILURES: Mapping[str, Task] = {
    "lr below 0.008 fails": Task(parse({"lr": LR}), _small_rates_die, 0.008),
    "hidden * batch above 40,000 fails": Task(
        parse(
            {
                "hidden": {"type": "integer", "low": 16, "high": 1024, "scale": "log"},
                "batch": {"type": "categorical", "values": [16, 32, 64, 128, 256, 512]},
            }
        ),
        _does_not_fit,
        -math.log2(40_000),
    ),
}
REPEATS: Mapping[str, Task] = {
    "lr, low is best": Task(parse({"lr": LR}), _sum, 0.001),
    "lr and batch_size, low is best": Task(
        parse({"lr": LR, "batch_size": {"type": "categorical", "values": [32, 64, 128, 256, 512]}}),
        _sum,
        32.001,
    ),
    "1 to 4 and a boolean": Task(
        parse(
            {
                "layers": {"type": "integer", "low": 1, "high": 4},
                "bias": {"type": "categorical", "values": [True, False]},
            }
        ),
        _sum,
        1,
    ),
    "two values, twice": Task(
        parse(
            {
                "a": {"type": "categorical", "values": [1, 2]},
                "b": {"type": "categorical", "values": ["x", "y"]},
            }
        ),
        _sum,
        1,
    ),
}


def suggest_configs(task: Task, search: str, seed: int, at_once: int) -> list[Config]:
    """Return the configurations of one search, as a run's searcher suggests them."""
    proposals = Proposals(task.space, search, seed=seed, objective=Objective("loss", "min"))
    configs: list[Config] = []
    for number in range(TRIALS):
        ended = number - at_once
        if ended >= 0:
            proposals.tell(ended, task.train(configs[ended]))
        config = proposals.suggest(number)
        if config is None:
            break
        configs.append(config)
    return configs


def suggest_by_optuna(task: Task, sampler: str, seed: int, at_once: int) -> list[Config]:
    """Return the configurations of one search by an Optuna sampler with its defaults."""
    import optuna
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=getattr(optuna.samplers, sampler)(seed=seed))
    trials: list[Any] = []
    configs: list[Config] = []
    for number in range(TRIALS):
        if number >= at_once:
            loss = task.train(configs[number - at_once])
            state = TrialState.FAIL if loss is None else TrialState.COMPLETE
            study.tell(trials[number - at_once], loss, state=state)
        trials.append(study.ask())
        configs.append(task.space.suggest(trials[-1]))
    return configs


Search = Callable[[Task, int, int], list[Config]]


def _searches(names: Sequence[str]) -> dict[str, Search]:
    """Return ours by name, and the Optuna samplers to compare with them."""
    ours: dict[str, Search] = {
        name: lambda task, seed, at_once, name=name: suggest_configs(task, name, seed, at_once)  # type: ignore[misc]  # mypy knows no defaults of lambdas
        for name in names
    }
    theirs: dict[str, Search] = {
        f"Optuna's {OPTUNA_SAMPLERS[name]}": lambda task, seed, at_once, name=name: (
            suggest_by_optuna(  # type: ignore[misc]
                task, OPTUNA_SAMPLERS[name], seed, at_once
            )
        )
        for name in names
        if name in OPTUNA_SAMPLERS
    }
    return {**ours, **theirs}


def failures(task: Task, configs: Sequence[Config]) -> int:
    """Count the trials that fail."""
    return sum(task.train(config) is None for config in configs)


def repeats(task: Task, configs: Sequence[Config]) -> int:
    """Count the trials whose configuration an earlier one had."""
    return len(configs) - len({identity(config) for config in configs})


def measure(
    name: str, task: Task, search: Search, seeds: int, count: Callable[[Task, list[Config]], int]
) -> dict[str, str]:
    """Counts with one and three trials at a time: the mean over seeds, and the most."""
    cells = {"space": name}
    for at_once in AT_ONCE:
        found = [search(task, seed, at_once) for seed in range(seeds)]
        counts = [count(task, configs) for configs in found]
        losses = [loss for configs in found for loss in [_least(task, configs)] if loss is not None]
        cells |= {
            f"{at_once} at a time, mean": f"{statistics.mean(counts):.2f}",
            f"{at_once}, most": str(max(counts)),
            f"{at_once}, trials": str(max(map(len, found))),
            f"{at_once}, best loss, mean": f"{statistics.mean(losses):.4g}",
        }
    return {**cells, "best possible": f"{task.best:.4g}"}


def _least(task: Task, configs: Sequence[Config]) -> float | None:
    losses = [loss for config in configs if (loss := task.train(config)) is not None]
    return min(losses, default=None)


def main() -> None:
    """Count failures or repeats, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("failures", "repeats"))
    parser.add_argument("--seeds", type=int, help="20 for failures, 8 for repeats")
    known = [name for name in SAMPLERS if name not in ("grid", "hyperband")]
    parser.add_argument("--searches", nargs="*", default=known, choices=known)
    arguments = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    of_failures = arguments.what == "failures"
    seeds = arguments.seeds or (20 if of_failures else 8)
    rows = []
    for search, run in _searches(arguments.searches).items():
        for name, task in (FAILURES if of_failures else REPEATS).items():
            row = measure(name, task, run, seeds, failures if of_failures else repeats)
            rows.append({"search": search, **row})
            print(search, *row.values(), sep=", ", file=sys.stderr)
    print(f"{seeds} seeds, {TRIALS} trials; {conditions('optuna')}")
    print(table(rows))


if __name__ == "__main__":
    main()
