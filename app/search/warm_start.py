"""Warm start: what a new search takes over from the trials of earlier runs, and what it drops."""

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.experiment.errors import ExperimentError, SpaceError
from app.experiment.result_keys import is_finite
from app.experiment.schema import Experiment
from app.experiment.search_algorithms import ALGORITHMS
from app.experiment.space import Identity, identity
from app.run import store
from app.run.formatting import count
from app.run.status import SUCCESSFUL, TrialStatus
from app.run.store import Run
from app.run.trial import is_config_bad

Config = dict[str, Any]

SAME_KEYS = ("trainable", "script", "metric", "mode", "epochs", "data_dir")
"""Keys in which two experiments must agree for a value of one to count in the other."""
SHOWN_REASONS = 3
"""How many reasons for dropping trials are shown for each earlier run."""


@dataclass(frozen=True)
class Evaluation:
    """A configuration and the value that an earlier run found for it."""

    config: Config
    value: float


@dataclass(frozen=True)
class WarmStart:
    """The trials of earlier runs, as a new search uses them."""

    evaluations: tuple[Evaluation, ...] = ()
    """Added to the search as if it had evaluated them."""
    failures: tuple[Config, ...] = ()
    """Added to the search as failures."""
    points: tuple[Config, ...] = ()
    """Evaluated first, the most promising first."""
    messages: tuple[str, ...] = ()
    """A sentence for each earlier run: what was taken over, what was dropped, and why."""
    parents: tuple[str, ...] = ()
    """The names of the earlier runs."""

    def as_json(self) -> dict[str, Any]:
        """Return the fields of the journal's event `warm`."""
        return {
            "evaluated": [
                {"config": evaluation.config, "value": evaluation.value}
                for evaluation in self.evaluations
            ],
            "failed": list(self.failures),
            "points": list(self.points),
            "parents": list(self.parents),
        }

    @classmethod
    def from_json(cls, event: Mapping[str, Any]) -> "WarmStart":
        """Read what `as_json` returned, or an earlier version, which had no failures."""
        evaluations = (Evaluation(entry["config"], entry["value"]) for entry in event["evaluated"])
        return cls(tuple(evaluations), tuple(event.get("failed", ())), tuple(event["points"]))


def warm_start(experiment: Experiment, runs: Sequence[Run]) -> WarmStart:
    """Collect what these runs give the experiment.

    Raises:
        ExperimentError: The experiment's search tries every combination, so it takes nothing over.
    """
    if runs and ALGORITHMS[experiment.search].exhaustive:
        raise ExperimentError(
            f"--warm-start: {experiment.search} search tries every combination anyway; leave it out"
        )
    sorted_runs = [_sort_trials(experiment, run) for run in runs]
    evaluations = _means(found for trials in sorted_runs for found in trials.evaluations)
    evaluated = {identity(evaluation.config) for evaluation in evaluations}
    failed = {identity(config): config for trials in sorted_runs for config in trials.failures}
    return WarmStart(
        evaluations,
        tuple(config for key, config in failed.items() if key not in evaluated),
        tuple(config for trials in sorted_runs for config in trials.ordered_points()),
        tuple(trials.summary(run.name) for run, trials in zip(runs, sorted_runs, strict=True)),
        tuple(run.name for run in runs),
    )


def _means(evaluations: Iterable[Evaluation]) -> tuple[Evaluation, ...]:
    """Return each configuration once, with the mean of its values."""
    values: dict[Identity, list[float]] = {}
    configs = {}
    for evaluation in evaluations:
        key = identity(evaluation.config)
        values.setdefault(key, []).append(evaluation.value)
        configs[key] = evaluation.config
    return tuple(Evaluation(configs[key], statistics.mean(values[key])) for key in values)


@dataclass
class _SortedTrials:
    """The trials of one earlier run, by what the new search does with them."""

    evaluations: list[Evaluation] = field(default_factory=list)
    failures: list[Config] = field(default_factory=list)
    points: list[tuple[float, Config]] = field(default_factory=list)
    """Configurations to evaluate again, with a rank: less is more promising."""
    dropped: Counter[str] = field(default_factory=Counter)
    """The number of trials that are left out, by reason."""

    def ordered_points(self) -> list[Config]:
        """Return the configurations to evaluate again, the most promising first."""
        return [config for _, config in sorted(self.points, key=lambda point: point[0])]

    def summary(self, name: str) -> str:
        """Say what was taken over from a run, what was dropped, and why."""
        shown = self.dropped.most_common(SHOWN_REASONS)
        reasons = "; ".join(f"{number}: {reason}" for reason, number in shown)
        because = f" ({reasons})" if reasons else ""
        avoided = f" {len(self.failures)} that failed avoided," if self.failures else ""
        return (
            f"warm start from {name}: {count(len(self.evaluations), 'trial')} reused,{avoided}"
            f" {len(self.points)} to be tried again, {self.dropped.total()} dropped{because}"
        )


def _sort_trials(experiment: Experiment, run: Run) -> _SortedTrials:
    """Decide for each trial of an earlier run what the experiment's search does with it."""
    earlier = store.read_experiment(run)
    trials = _SortedTrials()
    for trial in run.result["trials"]:
        values = {**earlier.fixed, **trial["config"]}
        value = trial["metrics"].get(earlier.metric)
        try:
            config = experiment.parameters.select(values)
        except SpaceError as error:
            trials.dropped[str(error)] += 1
            continue
        is_comparable = _is_comparable(experiment, earlier, values)
        if is_comparable and _is_bad(trial):
            trials.failures.append(config)
        elif trial["status"] == TrialStatus.FAILED:
            trials.dropped["it failed"] += 1
        elif is_comparable and is_finite(value) and trial["status"] in SUCCESSFUL:
            trials.evaluations.append(Evaluation(config, float(value)))
        else:
            trials.points.append((_rank(experiment, earlier, value), config))
    return trials


def _is_comparable(experiment: Experiment, earlier: Experiment, values: Config) -> bool:
    """Whether the new search would find the same value for a trial of the earlier run."""
    if any(getattr(experiment, key) != getattr(earlier, key) for key in SAME_KEYS):
        return False
    fixed = {name: value for name, value in values.items() if name not in experiment.space}
    return fixed == dict(experiment.fixed)


def _is_bad(trial: Mapping[str, Any]) -> bool:
    """Whether the configuration of a trial of `result.json` is to blame for its end."""
    return is_config_bad(
        trial["status"],
        trial["error"],
        has_reported=bool(trial["history"]),
        has_value=bool(trial["metrics"]),
    )


def _rank(experiment: Experiment, earlier: Experiment, value: Any) -> float:
    """Return less for a more promising value; values of another objective are all equal."""
    if earlier.objective != experiment.objective or not is_finite(value):
        return float("inf")
    return experiment.objective.as_loss(float(value))
