"""Warm start: what a new search takes over from earlier runs, what it drops, and why."""

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.experiment.distributions import SpaceError
from app.experiment.errors import ExperimentError
from app.experiment.result_keys import is_finite
from app.experiment.schema import Experiment
from app.experiment.search_algorithms import ALGORITHMS
from app.experiment.space import Identity, identity
from app.run import store
from app.run.formatting import count
from app.run.status import SUCCESSFUL, TrialStatus
from app.run.store import Run
from app.run.trial import is_lost

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
    failed: tuple[Config, ...] = ()
    """Told to it as failures."""
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
            "failed": list(self.failed),
            "points": list(self.points),
            "parents": list(self.parents),
        }


def from_json(kept: Mapping[str, Any]) -> WarmStart:
    """What `as_json` gave."""
    evaluated = (Evaluated(each["config"], each["value"]) for each in kept["evaluated"])
    # An earlier version kept no failures.
    failed = tuple(kept.get("failed", ()))
    return WarmStart(tuple(evaluated), failed, tuple(kept["points"]))


def warm_start(experiment: Experiment, runs: Sequence[Run]) -> WarmStart:
    """What these runs give the experiment; raises ExperimentError where its search takes none."""
    if runs and ALGORITHMS[experiment.search].exhaustive:
        raise ExperimentError(
            f"--warm-start: {experiment.search} search tries every combination anyway; leave it out"
        )
    taken = [_from_run(experiment, run) for run in runs]
    evaluated = _means(each for one in taken for each in one.evaluated)
    found = {identity(each.config) for each in evaluated}
    failed = {identity(config): config for one in taken for config in one.failed}
    return WarmStart(
        evaluated,
        tuple(config for each, config in failed.items() if each not in found),
        tuple(point for one in taken for point in one.points),
        tuple(sentence for one in taken for sentence in one.said),
        tuple(run.name for run in runs),
    )


def _means(found: Iterable[Evaluated]) -> tuple[Evaluated, ...]:
    """Each configuration once, with the mean of its values: several trials may have had it."""
    values: dict[Identity, list[float]] = {}
    configs = {}
    for each in found:
        values.setdefault(identity(each.config), []).append(each.value)
        configs[identity(each.config)] = each.config
    return tuple(Evaluated(configs[key], statistics.mean(values[key])) for key in values)


def _from_run(experiment: Experiment, run: Run) -> WarmStart:
    earlier = store.experiment(run)
    evaluated: list[Evaluated] = []
    failed: list[Config] = []
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
        comparable = _is_comparable(experiment, earlier, values)
        if comparable and _is_to_blame(trial):
            failed.append(config)
        elif trial["status"] == TrialStatus.FAILED:
            dropped["it failed"] += 1
        elif comparable and is_finite(value) and trial["status"] in SUCCESSFUL:
            evaluated.append(Evaluated(config, float(value)))
        else:
            points.append((_rank(experiment, earlier, value), config))
    points.sort(key=lambda each: each[0])
    said = _sentence(run.name, len(evaluated), len(failed), len(points), dropped)
    ordered = tuple(config for _, config in points)
    return WarmStart(tuple(evaluated), tuple(failed), ordered, (said,))


def _is_comparable(experiment: Experiment, earlier: Experiment, values: Config) -> bool:
    """Whether the new search would find for this configuration what the earlier one found."""
    if any(getattr(experiment, key) != getattr(earlier, key) for key in SAME):
        return False
    searched = experiment.space
    constant = {name: value for name, value in values.items() if name not in searched}
    return constant == dict(experiment.fixed)


def _is_to_blame(trial: Mapping[str, Any]) -> bool:
    """Whether a trial's configuration failed by itself; as `Trial.is_bad` says it."""
    if trial["status"] == TrialStatus.FAILED:
        return not is_lost(trial["error"])
    return trial["status"] in SUCCESSFUL and bool(trial["history"]) and not trial["metrics"]


def _rank(experiment: Experiment, earlier: Experiment, value: Any) -> float:
    """Less for what is likely to be better; nothing is known of another metric's values."""
    if earlier.objective != experiment.objective or not is_finite(value):
        return float("inf")
    return experiment.objective.as_loss(float(value))


def _sentence(name: str, evaluated: int, failed: int, points: int, dropped: Counter[str]) -> str:
    reasons = "; ".join(f"{number}: {reason}" for reason, number in dropped.most_common(3))
    because = f" ({reasons})" if reasons else ""
    avoided = f" {failed} that failed avoided," if failed else ""
    return (
        f"warm start from {name}: {count(evaluated, 'trial')} reused,{avoided}"
        f" {points} to be tried again, {dropped.total()} dropped{because}"
    )
