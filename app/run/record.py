"""The record of a run: what the events of its journal add up to."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from app.experiment.objective import VALUES, Objective
from app.experiment.result_keys import is_finite
from app.run import trial as trials_json
from app.run.events import Event
from app.run.status import RunStatus, TrialStatus
from app.run.trial import Epoch, Trial
from app.storage.json_fields import (
    NEEDED,
    TEXT,
    Fields,
    is_config,
    is_lost_nodes,
    is_metrics,
    is_model_of,
    is_number,
    is_time,
    is_trial,
    validate,
)

FIELDS: Fields = {
    "status": (str, NEEDED),
    "reason": (TEXT, None),
    "metric": (str, NEEDED),
    "mode": (str, "min"),
    "seed": (int | None, None),
    "seconds": (is_number, 0.0),
    "best": (dict | None, None),
    "trials": (list, NEEDED),
    "lost_nodes": (is_lost_nodes, {}),
    "model": (TEXT, None),
    "model_of": (is_model_of, None),
    "model_error": (TEXT, None),
    "export_failed": (bool, False),
    "versions": (dict, {}),
    "began": (is_time, None),
}
"""Fields of `result.json`."""
BEST: Fields = {
    "trial_id": (is_trial, NEEDED),
    "config": (is_config, {}),
    "epoch": (int | None, None),
    "metrics": (is_metrics, {}),
}
"""Fields of the best trial in `result.json`."""


Rank = tuple[float, int]
LAST: Rank = (math.inf, 0)


@dataclass
class Record:
    """The state of a run after the events so far."""

    name: str
    metric: str
    mode: str
    seed: int
    value: str = "best"
    """Which of a trial's values counts: `best`, `last` or `first`."""
    versions: dict[str, str] = field(default_factory=dict)
    status: RunStatus = RunStatus.RUNNING
    reason: str | None = None
    seconds: float = 0.0
    began: float | None = None
    """The time of the first event, in seconds since 1970."""
    trials: dict[str, Trial] = field(default_factory=dict)
    warm: dict[str, Any] | None = None
    """The event of a warm start: its configurations from earlier runs."""
    bests: list[float] = field(default_factory=list)
    """The best value after each trial that ended with one."""
    without_better: int = 0
    """Trials that ended since the best value was last improved, failed ones too."""
    stopped: list[str] = field(default_factory=list)
    """The trials that early stopping ended, in that order."""
    lost_nodes: dict[str, list[str]] = field(default_factory=dict)
    """The trials that went on elsewhere, by the node that each was lost with."""
    model: str | None = None
    model_of: dict[str, Any] | None = None
    """`trial_id` and `epoch` of the checkpoint that the model was exported from."""
    model_error: str | None = None
    """Why there is no model, or none of the best trial, in one sentence."""
    export_failed: bool = False
    """Whether that is an error: a trainable that gives no model may be searched all the same."""
    best: Trial | None = None
    """The trial with the best value that counts, among those that did not fail."""
    objective: Objective = field(init=False)
    """The metric that decides which trial is best, and its mode."""
    _best_rank: Rank = field(default=LAST, init=False, repr=False)

    def __post_init__(self) -> None:
        """Make the objective, which is asked for at every event."""
        self.objective = Objective(self.metric, self.mode)

    @property
    def best_value(self) -> float | None:
        """The best trial's value."""
        best = self.best
        epoch = None if best is None else best.best_epoch
        return None if epoch is None else float(epoch.metrics[self.metric])

    def in_order(self) -> list[Trial]:
        """Return the trials by their numbers; those that start at once begin in any order."""
        return sorted(self.trials.values(), key=Trial.number)

    def apply_known(self, event: Event) -> bool:
        """Apply an event unless another version's kind; returns whether it was applied."""
        if event["event"] not in APPLY:
            return False
        self.apply(event)
        return True

    def apply(self, event: Event) -> None:
        """Apply one event; raises ValueError where it is of a trial that never began."""
        trial_id = event.get("trial_id")
        if trial_id is not None and event["event"] != "trial" and trial_id not in self.trials:
            raise ValueError(f"is of trial {trial_id}, which never began")
        self.seconds = event["run_seconds"]
        if self.began is None:
            self.began = event.get("time")
        APPLY[event["event"]](self, event)
        if "trial_id" in event:
            self._update_best(self.trials[event["trial_id"]])

    def _update_best(self, trial: Trial) -> None:
        """Choose the best trial after that one changed."""
        rank = self._rank(trial)
        if trial is self.best and rank > self._best_rank:
            # All are compared only when the best has become worse: there may be thousands.
            trial = min(self.trials.values(), key=self._rank)
            rank = self._rank(trial)
        elif trial is not self.best and rank >= self._best_rank:
            return
        self.best, self._best_rank = (trial if rank < LAST else None), rank

    def _rank(self, trial: Trial) -> Rank:
        """A trial's loss and number, LAST for one that is not sound."""
        if trial.best_epoch is None or not trial.is_sound:
            return LAST
        return self._loss(trial.best_epoch), trial.number()

    def _loss(self, epoch: Epoch) -> float:
        return self.objective.as_loss(float(epoch.metrics[self.metric]))

    def choose_epoch(self, counts: Epoch | None, further: Iterable[Epoch]) -> Epoch | None:
        """Return the epoch whose value is the trial's: `counts`, or one of those after it."""
        takes_over = VALUES[self.value]
        for epoch in further:
            if is_finite(epoch.metrics.get(self.metric)) and (
                counts is None or takes_over(self._loss(counts), self._loss(epoch))
            ):
                counts = epoch
        return counts

    def as_json(self) -> dict[str, Any]:
        """Return the outcome so far as `result.json` has it."""
        return {
            **self.head(),
            "trials": [trial.as_json() for trial in self.in_order()],
            **self.tail(),
        }

    def head(self) -> dict[str, Any]:
        """Return the keys of `result.json` that stand before its trials."""
        return {
            "name": self.name,
            "status": self.status,
            "reason": self.reason,
            "metric": self.metric,
            "mode": self.mode,
            "seed": self.seed,
            "seconds": round(self.seconds, 3),
            "best": self._best_json(),
        }

    def tail(self) -> dict[str, Any]:
        """Return the keys of `result.json` that stand after its trials."""
        return {
            "lost_nodes": self.lost_nodes,
            "model": self.model,
            "model_of": self.model_of,
            "model_error": self.model_error,
            "export_failed": self.export_failed,
            "versions": self.versions,
            "began": as_utc(self.began),
        }

    def _best_json(self) -> dict[str, Any] | None:
        trial = self.best
        if trial is None or trial.best_epoch is None:
            return None
        return {
            "trial_id": trial.trial_id,
            "config": trial.config,
            "epoch": trial.best_epoch.number,
            "metrics": trial.best_epoch.metrics,
        }


def from_json(name: str, table: Any) -> dict[str, Any]:
    """Check what `Record.as_json` wrote, and fill in what an older version left out.

    A run is called by its folder, `name`. Raises ValueError for a key that is missing or wrong.
    """
    outcome = validate("outcome", table, FIELDS)
    best = outcome["best"]
    trials = enumerate(outcome["trials"])
    return {
        **outcome,
        "name": name,
        "best": None if best is None else validate("best", best, BEST),
        "trials": [trials_json.from_json(f"trials[{index}]", trial) for index, trial in trials],
    }


def as_utc(time: Any) -> str | None:
    """Return a time in seconds since 1970 as text, in UTC; None for what is no time."""
    try:
        return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds")
    except (OSError, OverflowError, TypeError, ValueError):
        return None


def _run(record: Record, event: Event) -> None:
    """Start the run, or go on with it."""
    record.versions = event["versions"]
    record.status, record.reason = RunStatus.RUNNING, None
    _interrupt_trials(record)


def _warm(record: Record, event: Event) -> None:
    """Keep what a warm start took over."""
    record.warm = {key: event.get(key, []) for key in ("evaluated", "failed", "points")}


def _trial(record: Record, event: Event) -> None:
    """Start a trial, or go on with it."""
    trial = record.trials.setdefault(
        event["trial_id"], Trial(event["trial_id"], dict(event["config"]))
    )
    trial.status, trial.error, trial.rewind_reason = TrialStatus.RUNNING, None, None
    trial.attempts, trial.seed = event["leg"], event.get("seed")


def _restart(record: Record, event: Event) -> None:
    """Count a restart of a trial whose process was lost or raised."""
    trial, node = record.trials[event["trial_id"]], event["node"]
    trial.restarts, trial.restart_reason = trial.restarts + 1, event["reason"]
    if node is not None:
        trial.lost_nodes += 1
        record.lost_nodes.setdefault(node, []).append(trial.trial_id)


def _node(record: Record, event: Event) -> None:
    """Note a node that was lost, maybe without a trial on it."""
    record.lost_nodes.setdefault(event["node"], [])


def _epoch(record: Record, event: Event) -> None:
    """Add an epoch and its checkpoint."""
    trial = record.trials[event["trial_id"]]
    epoch = Epoch(event["epoch"], event["metrics"])
    _forget(record, trial, from_epoch=epoch.number)
    trial.history.append(epoch)
    if event["checkpoint"] is not None:
        trial.checkpoints[epoch.number] = event["checkpoint"]
    trial.is_over = event.get("done", False)
    trial.seconds += event["seconds"]
    # Only the new epoch is compared: there may be ten thousand.
    trial.best_epoch = record.choose_epoch(trial.best_epoch, [epoch])
    needed = {epoch.number, 0 if trial.best_epoch is None else trial.best_epoch.number}
    trial.checkpoints = {
        number: path for number, path in trial.checkpoints.items() if number in needed
    }


def _extend(record: Record, event: Event) -> None:
    """Let a completed trial go on, as more epochs are asked for; stoppers count from here."""
    record.trials[event["trial_id"]].status = TrialStatus.INTERRUPTED
    record.bests, record.without_better = [], 0


def _back(record: Record, event: Event) -> None:
    """Go back to an earlier epoch, as a checkpoint was lost; later ones are forgotten."""
    trial, last = record.trials[event["trial_id"]], event["epoch"]
    trial.rewind_reason = event["reason"]
    _forget(record, trial, from_epoch=last + 1)
    trial.checkpoints = {
        number: path for number, path in trial.checkpoints.items() if number <= last
    }


def _forget(record: Record, trial: Trial, *, from_epoch: int) -> None:
    """Forget a trial's epochs from that one on."""
    while trial.history and trial.history[-1].number >= from_epoch:
        trial.history.pop()
    if trial.best_epoch is not None and trial.best_epoch.number >= from_epoch:
        trial.best_epoch = record.choose_epoch(None, trial.history)


def _end(record: Record, event: Event) -> None:
    """End a trial."""
    trial = record.trials[event["trial_id"]]
    trial.status, trial.error = TrialStatus(event["status"]), event["error"]
    if event.get("rule"):
        record.stopped.append(trial.trial_id)
    before = record.bests[-1:]
    if trial.is_sound and trial.best_epoch is not None:
        values = (*before, float(trial.best_epoch.metrics[record.metric]))
        record.bests.append(min(values, key=record.objective.as_loss))
    record.without_better = 0 if record.bests[-1:] != before else record.without_better + 1


def _model(record: Record, event: Event) -> None:
    """Name the exported model, or say why there is none; an earlier model stays."""
    record.model_error = event.get("error")
    record.export_failed = event.get("failed", False)
    if event["model"] is not None:
        record.model, record.model_of = event["model"], event.get("of")


def _status(record: Record, event: Event) -> None:
    """End the run, or interrupt it."""
    record.status, record.reason = RunStatus(event["status"]), event["reason"]
    _interrupt_trials(record)


def _interrupt_trials(record: Record) -> None:
    for trial in record.trials.values():
        if trial.status == TrialStatus.RUNNING:
            trial.status = TrialStatus.INTERRUPTED


APPLY = {
    "run": _run,
    "warm": _warm,
    "trial": _trial,
    "restart": _restart,
    "node": _node,
    "epoch": _epoch,
    "extend": _extend,
    "back": _back,
    "end": _end,
    "model": _model,
    "status": _status,
}
"""By kind of event, the function that applies it."""
