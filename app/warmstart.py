"""Warm start: what a new search takes over from earlier runs, what it drops, and why."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app import store
from app.experiment import Experiment, ExperimentError
from app.parameters import SpaceError
from app.search import SEARCHES, is_finite
from app.store import Run

Config = dict[str, Any]

SAME = ("trainable", "script", "metric", "mode", "epochs", "data_dir")
"""What two experiments must agree in for a value of one to count in the other."""


@dataclass(frozen=True)
class Evaluated:
    """A configuration whose value an earlier run found."""

    config: Config
    value: float


@dataclass(frozen=True)
class WarmStart:
    """What earlier runs give a search."""

    evaluated: tuple[Evaluated, ...] = ()
    """Told to the search as if it had tried them."""
    points: tuple[Config, ...] = ()
    """Tried first, the best of them first."""
    said: tuple[str, ...] = ()
    """A sentence for each earlier run: what was taken, what dropped, and why."""
    parents: tuple[str, ...] = ()
    """The earlier runs, by their names."""

    def as_json(self) -> dict[str, Any]:
        """As the journal keeps it."""
        return {
            "evaluated": [{"config": each.config, "value": each.value} for each in self.evaluated],
            "points": list(self.points),
            "parents": list(self.parents),
        }


def from_json(kept: Mapping[str, Any]) -> WarmStart:
    """What `as_json` gave."""
    evaluated = (Evaluated(each["config"], each["value"]) for each in kept["evaluated"])
    return WarmStart(tuple(evaluated), tuple(kept["points"]))


def warm_start(experiment: Experiment, runs: Sequence[Run]) -> WarmStart:
    """What these runs give the experiment; raises ExperimentError where its search takes none."""
    if runs and SEARCHES[experiment.search].exhaustive:
        raise ExperimentError(
            f"--warm-start: {experiment.search} search tries every combination anyway; leave it out"
        )
    taken = [_from_run(experiment, run) for run in runs]
    return WarmStart(
        _distinct(each for one in taken for each in one.evaluated),
        tuple(point for one in taken for point in one.points),
        tuple(sentence for one in taken for sentence in one.said),
        tuple(run.name for run in runs),
    )


def _distinct(evaluated: Iterator[Evaluated]) -> tuple[Evaluated, ...]:
    """Each configuration once: two runs may have tried the same."""
    by_config = {tuple(sorted(each.config.items())): each for each in evaluated}
    return tuple(by_config.values())


def _from_run(experiment: Experiment, run: Run) -> WarmStart:
    earlier = store.experiment(run)
    evaluated: list[Evaluated] = []
    points: list[tuple[float, Config]] = []
    dropped: Counter[str] = Counter()
    for trial in run.result["trials"]:
        values = {**earlier.fixed, **trial["config"]}
        value = trial["metrics"].get(earlier.metric)
        try:
            config = experiment.parameters.accepted(values)
        except SpaceError as error:
            dropped[str(error)] += 1
            continue
        if trial["status"] == "failed":
            dropped["it failed"] += 1
        elif is_finite(value) and _is_comparable(experiment, earlier, values, trial):
            evaluated.append(Evaluated(config, float(value)))
        else:
            points.append((_rank(experiment, earlier, value), config))
    points.sort(key=lambda each: each[0])
    said = _sentence(run.name, len(evaluated), len(points), dropped)
    return WarmStart(tuple(evaluated), tuple(config for _, config in points), (said,))


def _is_comparable(
    experiment: Experiment, earlier: Experiment, values: Config, trial: Mapping[str, Any]
) -> bool:
    """Whether the new search would have found the same value for this configuration."""
    if any(getattr(experiment, key) != getattr(earlier, key) for key in SAME):
        return False
    searched = experiment.space
    constant = {name: value for name, value in values.items() if name not in searched}
    whole = trial["status"] in ("completed", "stopped")
    return whole and constant == dict(experiment.fixed)


def _rank(experiment: Experiment, earlier: Experiment, value: Any) -> float:
    """Less for what is likely to be better; nothing is known of another metric's values."""
    same = (earlier.metric, earlier.mode) == (experiment.metric, experiment.mode)
    if not same or not is_finite(value):
        return float("inf")
    return float(value) if experiment.mode == "min" else -float(value)


def _sentence(name: str, evaluated: int, points: int, dropped: Counter[str]) -> str:
    reasons = "; ".join(f"{count}: {reason}" for reason, count in dropped.most_common(3))
    because = f" ({reasons})" if reasons else ""
    return (
        f"warm start from {name}: {evaluated} trials reused, {points} to be tried again,"
        f" {dropped.total()} dropped{because}"
    )
