"""Early stopping by the median: Ray's rule, without what a trial reported and then lost."""

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import MedianStoppingRule


class Median(MedianStoppingRule):
    """Stops a trial whose best so far is worse than the median of the others' running means.

    A trial that was started again is judged by the epochs of the attempt that counts.
    """

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Decide whether the trial goes on."""
        now = result[self._time_attr]
        known = self._results.get(trial, [])
        self._results[trial] = [old for old in known if old[self._time_attr] < now]
        return str(super().on_trial_result(tune_controller, trial, result))
