"""Early stopping for trials of a few epochs: successive halving with a rung at every epoch."""

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from app.experiment.objective import Objective
from app.experiment.result_keys import is_finite


class Halving(FIFOScheduler):
    """Stops a trial whose best value so far is not among the best part of all by that epoch.

    Asynchronous successive halving (Li et al. 2020, arXiv:1810.05934) with two changes that suit
    short trials: every epoch is a rung, not epochs 1, 3 and 9; and a trial that has not come as
    far counts by its best so far, so that one which is behind with more epochs stops at once.
    """

    def __init__(self, time_attr: str, keep: float, grace: int = 0) -> None:
        """Keep that part of the trials; the first `grace` epochs of each are not looked at."""
        super().__init__()  # type: ignore[no-untyped-call]  # as Ray wrote it
        self._grace = grace
        self._time_attr = time_attr
        self._keep = keep
        self._objective = Objective("", "min")
        self._best: dict[str, dict[int, float]] = {}
        """By trial and epoch, the best value by then, as a loss."""

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Take the objective and its direction from the search."""
        self._objective = Objective(metric or "", mode or "min")
        return bool(super().set_search_properties(metric, mode, **spec))

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Whether the trial goes on."""
        value: Any = result.get(self.metric)
        now = result[self._time_attr]
        # What a restarted trial reported from this epoch on was thrown away with its process.
        known = self._best.get(trial.trial_id, {})
        mine = {epoch: best for epoch, best in known.items() if epoch < now}
        self._best[trial.trial_id] = mine
        if now <= self._grace or not is_finite(value):
            return TrialScheduler.CONTINUE
        mine[now] = min([self._objective.as_loss(value), *mine.values()])
        by_now = [
            min(losses)
            for each in self._best.values()
            if (losses := [best for epoch, best in each.items() if epoch <= now])
        ]
        ahead = sum(best < mine[now] for best in by_now)
        keeps_on = ahead < max(1.0, self._keep * len(by_now))
        return TrialScheduler.CONTINUE if keeps_on else TrialScheduler.STOP
