"""Early stopping in a resumed run, with the learning curves of trials trained before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray.air.constants import TRAINING_ITERATION
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from app.experiment.result_keys import CONTROL, is_finite
from app.run.record import Record
from app.run.trial import Epoch

Curve = Mapping[int, float]
"""A trial's values by epoch: Optuna's intermediate values."""


@dataclass(frozen=True)
class FinishedTrial:
    """A trial of an earlier attempt, with the one attribute that schedulers read."""

    trial_id: str


class ResumedScheduler(FIFOScheduler):
    """A scheduler that first replays the learning curves of the run's earlier attempts."""

    def __init__(self, scheduler: TrialScheduler, record: Record) -> None:
        """Replay the record's trials to `scheduler`, which then decides."""
        super().__init__()  # type: ignore[no-untyped-call]  # as Ray wrote it
        self._scheduler = scheduler
        self._curves = {
            trial.trial_id: curve(trial.history, record.metric) for trial in record.in_order()
        }
        self._finished = {trial.trial_id for trial in record.in_order() if trial.is_finished}
        self._stopped: set[str] = set()
        """Resumed trials that the scheduler stops for their earlier epochs."""

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Take the metric and the mode of the search, and replay the finished trials."""
        if not super().set_search_properties(metric, mode, **spec):
            return False
        if not self._scheduler.set_search_properties(metric, mode, **spec):
            return False
        for trial_id in self._finished:
            trial: Any = FinishedTrial(trial_id)
            self._scheduler.on_trial_add(None, trial)  # type: ignore[arg-type]  # it ignores None
            self._replay(trial, self._curves[trial_id])
        return True

    def on_trial_add(self, tune_controller: Any, trial: TuneTrial) -> None:
        """Add a trial, and replay its earlier epochs."""
        self._scheduler.on_trial_add(tune_controller, trial)
        earlier = self._curves.get(trial.config[CONTROL]["trial_id"], {})
        if self._replay(trial, earlier):
            self._stopped.add(trial.trial_id)

    def on_trial_result(
        self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]
    ) -> str:
        """Decide whether the trial goes on."""
        if trial.trial_id in self._stopped:
            return TrialScheduler.STOP
        return str(self._scheduler.on_trial_result(tune_controller, trial, result))

    def on_trial_complete(
        self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]
    ) -> None:
        """Pass the trial's end on to the scheduler."""
        self._scheduler.on_trial_complete(tune_controller, trial, result)

    def _replay(self, trial: Any, earlier: Curve) -> bool:
        """Report a trial's earlier epochs to the scheduler; return whether it stops the trial."""
        for epoch, value in earlier.items():
            result = {TRAINING_ITERATION: epoch, self.metric: value}
            # No scheduler in use reads the controller.
            decision = self._scheduler.on_trial_result(None, trial, result)  # type: ignore[arg-type]
            if decision == TrialScheduler.STOP:
                return True
        return False


def curve(history: Sequence[Epoch], metric: str) -> Curve:
    """Return the values of the epochs that reported a finite one."""
    return {
        epoch.number: epoch.metrics[metric]
        for epoch in history
        if is_finite(epoch.metrics.get(metric))
    }
