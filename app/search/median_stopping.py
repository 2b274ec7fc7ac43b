"""Early stopping by the median: Ray's rule, blind to warm-up and to what was thrown away."""

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import MedianStoppingRule


class Median(MedianStoppingRule):
    """Stops a trial whose best so far is worse than the median of the others' running means.

    A trial that was started again is judged by the epochs of the attempt that counts.
    """

    def __init__(self, *, grace: int = 0, **settings: Any) -> None:
        """Take Ray's settings; the first `grace` epochs of each trial are not looked at."""
        super().__init__(**settings)
        self._grace = grace

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Decide whether the trial goes on."""
        now = result[self._time_attr]
        if known := self._results.pop(trial, []):
            kept = [old for old in known if old[self._time_attr] < now]
            self._results |= {trial: kept} if kept else {}
        if now <= self._grace:
            return self.CONTINUE
        return str(super().on_trial_result(tune_controller, trial, result))
