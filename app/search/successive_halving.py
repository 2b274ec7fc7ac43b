"""Asynchronous successive halving for trials of a few epochs: a rung at every epoch."""

from typing import Any

from ray.air.constants import TRAINING_ITERATION
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from app.experiment.objective import Objective
from app.experiment.result_keys import is_finite


class SuccessiveHalving(FIFOScheduler):
    """Stops a trial whose best value so far is not in the best part of all trials at its epoch.

    Asynchronous successive halving, ASHA (Li et al. 2020, arXiv:1810.05934), with two changes for
    short trials: every epoch is a rung, where Ray's has rungs at epochs 1, 4 and 16; and a trial
    that has not reached the epoch counts with its best so far, so that a trial which is behind
    with more epochs stops at once.
    """

    def __init__(self, *, grace: int = 0, keep: float = 1 / 3) -> None:
        """Keep that part of the trials; ignore the first `grace` epochs of each trial."""
        super().__init__()  # type: ignore[no-untyped-call]  # as Ray wrote it
        self._grace = grace
        self._keep = keep
        self._objective = Objective("", "min")
        self._best: dict[str, dict[int, float]] = {}
        """The least loss up to each epoch, by trial and epoch."""

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Take the metric and the mode of the search."""
        self._objective = Objective(metric or "", mode or "min")
        return bool(super().set_search_properties(metric, mode, **spec))

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Decide whether the trial goes on."""
        value: Any = result.get(self.metric)
        epoch = result[TRAINING_ITERATION]
        # A restarted trial trains again the epochs after its checkpoint: the earlier ones are void.
        before = self._best.get(trial.trial_id, {})
        bests = {earlier: best for earlier, best in before.items() if earlier < epoch}
        self._best[trial.trial_id] = bests
        if epoch <= self._grace or not is_finite(value):
            return TrialScheduler.CONTINUE
        bests[epoch] = min([self._objective.as_loss(value), *bests.values()])
        losses = self._least_losses(epoch)
        better = sum(loss < bests[epoch] for loss in losses)
        goes_on = better < max(1.0, self._keep * len(losses))
        return TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP

    def _least_losses(self, epoch: int) -> list[float]:
        """Return each trial's least loss up to an epoch, of the trials that have one."""
        by_trial = (
            [best for earlier, best in bests.items() if earlier <= epoch]
            for bests in self._best.values()
        )
        return [min(losses) for losses in by_trial if losses]
