"""Gauges of a run in Ray's Prometheus endpoint, by run and trial.

Ray adds `ray_` to the names. `docs/grafana/tuneport.json` draws them.
"""

import threading

from ray.util.metrics import Gauge

from app.experiment.schema import Experiment
from app.loggers.following import scalars
from app.run.events import Event
from app.run.journal import Journal

EPOCH = "tuneport_trial_epoch"
VALUE = "tuneport_trial_value"
BEST = "tuneport_best_value"
STATE = "tuneport_trial_state"
NAMES = (EPOCH, VALUE, BEST, STATE)
REFRESH_S = 5.0
"""Seconds after which gauges are set again: Ray forgets one that is not set for 20 seconds."""


class RayMetrics:
    """Sets gauges as the journal's events come, and again until the run ends.

    Epoch and metrics of a trial end with it; its state stays.
    """

    def __init__(self, journal: Journal, experiment: Experiment) -> None:
        """Make the gauges of the journal's run, and set the states of the trials that it has."""
        self._journal = journal
        self._metric = experiment.metric
        self._gauges = {
            EPOCH: _gauge(EPOCH, "Epochs that a trial has done.", "trial"),
            VALUE: _gauge(VALUE, "A metric of a trial's latest epoch.", "trial", "metric"),
            BEST: _gauge(BEST, "The best value of the objective.", "metric"),
            STATE: _gauge(STATE, "1 for the state that a trial is in.", "trial", "state"),
        }
        for gauge in self._gauges.values():
            gauge.set_default_tags({"run": journal.folder.name})
        self._values: dict[tuple[str, ...], tuple[float, dict[str, str]]] = {}
        """Values and tags by the name of their gauge and what they belong to."""
        for trial_id in list(journal.record.trials):
            self._set_state(trial_id)
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        threading.Thread(target=self._refresh, name="gauges", daemon=True).start()

    def on_event(self, event: Event) -> None:
        """Set what an event changes."""
        with self._lock:
            if event["event"] == "epoch":
                self._set_epoch(event)
            elif event["event"] in ("trial", "restart", "end"):
                self._set_state(event["trial_id"])
            if event["event"] == "end":
                for key in list(self._values):
                    if key[0] in (EPOCH, VALUE) and key[1] == event["trial_id"]:
                        del self._values[key]

    def close(self) -> None:
        """Let Ray forget the gauges."""
        self._is_over.set()

    def _set(self, key: tuple[str, ...], value: float, **tags: str) -> None:
        self._values[key] = value, tags
        self._gauges[key[0]].set(value, tags)

    def _set_epoch(self, event: Event) -> None:
        trial = event["trial_id"]
        self._set((EPOCH, trial), event["epoch"], trial=trial)
        for name, value in scalars(event["metrics"]).items():
            self._set((VALUE, trial, name), value, trial=trial, metric=name)
        if (best := self._journal.record.best_value) is not None:
            self._set((BEST,), best, metric=self._metric)

    def _set_state(self, trial_id: str) -> None:
        state = self._journal.record.trials[trial_id].status.value
        key = (STATE, trial_id)
        if key in self._values:
            self._gauges[STATE].set(0.0, self._values[key][1])
        self._set(key, 1.0, trial=trial_id, state=state)

    def _refresh(self) -> None:
        while not self._is_over.wait(REFRESH_S):
            with self._lock:
                for key, (value, tags) in self._values.items():
                    self._gauges[key[0]].set(value, tags)


def _gauge(name: str, description: str, *tags: str) -> Gauge:
    return Gauge(name, description, tag_keys=("run", *tags))
