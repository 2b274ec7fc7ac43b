"""An early-stopping rule that goes on with a run: it is told first of what was trained before."""

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
"""A trial's objective by epoch."""


@dataclass(frozen=True)
class FinishedTrial:
    """A trial of an earlier attempt, with the one attribute that a rule reads."""

    trial_id: str


class ResumedScheduler(FIFOScheduler):
    """Asks a rule that knows the curves of earlier legs, those of resumed trials as their own."""

    def __init__(self, rule: TrialScheduler, record: Record) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as Ray wrote it
        self._rule = rule
        self._curves = {
            trial.trial_id: curve(trial.history, record.metric) for trial in record.in_order()
        }
        self._over = {trial.trial_id for trial in record.in_order() if trial.is_finished}
        self._worse: set[str] = set()
        """Resumed trials that the rule would stop by what they showed before."""

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Take the objective from the search, and tell the rule of the trials that are over."""
        if not super().set_search_properties(metric, mode, **spec):
            return False
        if not self._rule.set_search_properties(metric, mode, **spec):
            return False
        for name in self._over:
            known: Any = FinishedTrial(name)
            self._rule.on_trial_add(None, known)  # type: ignore[arg-type]  # it asks nothing of it
            self._tell(known, self._curves[name])
        return True

    def on_trial_add(self, tune_controller: Any, trial: TuneTrial) -> None:
        """Tell the rule of a trial, and of what it showed before."""
        self._rule.on_trial_add(tune_controller, trial)
        earlier = self._curves.get(trial.config[CONTROL]["trial_id"], {})
        if self._tell(trial, earlier):
            self._worse.add(trial.trial_id)

    def on_trial_result(
        self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]
    ) -> str:
        """Whether the trial goes on."""
        if trial.trial_id in self._worse:
            return TrialScheduler.STOP
        return str(self._rule.on_trial_result(tune_controller, trial, result))

    def on_trial_complete(
        self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]
    ) -> None:
        """Tell the rule."""
        self._rule.on_trial_complete(tune_controller, trial, result)

    def _tell(self, trial: Any, known: Curve) -> bool:
        """Put a curve before the rule; gives whether the rule would have ended it."""
        for epoch, value in known.items():
            result = {TRAINING_ITERATION: epoch, self.metric: value}
            verdict = self._rule.on_trial_result(None, trial, result)  # type: ignore[arg-type]
            if verdict == TrialScheduler.STOP:
                return True
        return False


def curve(history: Sequence[Epoch], metric: str) -> Curve:
    """The epochs of a trial that have a value."""
    return {
        epoch.number: epoch.metrics[metric]
        for epoch in history
        if is_finite(epoch.metrics.get(metric))
    }
