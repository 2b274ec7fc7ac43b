"""Gauges of a run in Ray's Prometheus endpoint, by run and trial.

Ray adds `ray_` to the names. `docs/grafana/tuneport.json` draws them.
"""

from ray.util.metrics import Gauge

from app.experiment.schema import Experiment
from app.loggers.following import scalars
from app.run.events import Event
from app.run.journal import Journal
from app.run.status import TrialStatus

EPOCH = "tuneport_trial_epoch"
VALUE = "tuneport_trial_value"
BEST = "tuneport_best_value"
STATE = "tuneport_trial_state"
NAMES = (EPOCH, VALUE, BEST, STATE)


class RayMetrics:
    """Sets gauges as the journal's events come."""

    def __init__(self, journal: Journal, experiment: Experiment) -> None:
        """Make the gauges of the journal's run."""
        self._journal = journal
        self._metric = experiment.metric
        run = {"run": journal.folder.name}
        self._epoch = _gauge(EPOCH, "Epochs that a trial has done.", "trial")
        self._value = _gauge(VALUE, "A metric of a trial's latest epoch.", "trial", "metric")
        self._best = _gauge(BEST, "The best value of the objective.", "metric")
        self._state = _gauge(STATE, "1 for the state that a trial is in.", "trial", "state")
        for gauge in (self._epoch, self._value, self._best, self._state):
            gauge.set_default_tags(run)

    def on_event(self, event: Event) -> None:
        """Set what an event changes."""
        record = self._journal.record
        if event["event"] == "epoch":
            trial = event["trial_id"]
            self._epoch.set(event["epoch"], {"trial": trial})
            for name, value in scalars(event["metrics"]).items():
                self._value.set(value, {"trial": trial, "metric": name})
            if record.best_value is not None:
                self._best.set(record.best_value, {"metric": self._metric})
        elif event["event"] in ("trial", "restart", "end"):
            trial = event["trial_id"]
            now = record.trials[trial].status
            for state in TrialStatus:
                self._state.set(float(state == now), {"trial": trial, "state": state.value})

    def close(self) -> None:
        """Do nothing: gauges go with the command's process."""


def _gauge(name: str, description: str, *tags: str) -> Gauge:
    return Gauge(name, description, tag_keys=("run", *tags))
