"""What samplers see of the trials: one that failed counts as the worst value that was seen.

Optuna's samplers pass over failed trials, so they propose again and again what fails. To learn
from failures they need a value, and one that follows as worse values come in.
"""

from collections.abc import Container

from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from app.experiment.objective import Objective


class Lessons(InMemoryStorage):
    """A study's trials in memory, in which failures teach."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self._objective = objective
        self._failures: set[int] = set()

    def failed(self, number: int) -> None:
        """Let the trial with this number in the study count as the worst."""
        self._failures.add(number)

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """The trials in these states, a failure as a complete trial with the worst value."""
        if not self._failures or states == (TrialState.WAITING,):
            return super().get_all_trials(study_id, deepcopy, states)
        trials = super().get_all_trials(study_id, deepcopy)
        complete = (trial.value for trial in trials if trial.state == TrialState.COMPLETE)
        values = [value for value in complete if value is not None]
        worst = max(values, key=self._objective.as_loss, default=0.0)
        seen = (self._as_seen(trial, worst) for trial in trials)
        return [trial for trial in seen if states is None or trial.state in states]

    def _as_seen(self, trial: FrozenTrial, worst: float) -> FrozenTrial:
        if trial.number not in self._failures:
            return trial
        lesson = create_trial(params=trial.params, distributions=trial.distributions, value=worst)
        lesson.number = trial.number
        return lesson
