"""The trials that samplers learn from: a failed one has the worst value of all.

Optuna's samplers ignore failed trials, so they suggest again and again what fails. To learn from a
failure they need a value, and one that changes as worse values are observed.
"""

from collections.abc import Container

from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from app.experiment.objective import Objective


class ImputingStorage(InMemoryStorage):
    """A study's trials in memory, with the worst observed value imputed to failed ones."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self._objective = objective
        self._failures: set[int] = set()

    def impute(self, number: int) -> None:
        """Give the trial of this number in the study the worst value from now on."""
        self._failures.add(number)

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return the trials in these states; a failure is a complete trial with the worst value."""
        if not self._failures or states == (TrialState.WAITING,):
            return super().get_all_trials(study_id, deepcopy, states)
        trials = super().get_all_trials(study_id, deepcopy)
        complete = (trial.value for trial in trials if trial.state == TrialState.COMPLETE)
        values = [value for value in complete if value is not None]
        worst = max(values, key=self._objective.as_loss, default=0.0)
        imputed = (self._impute(trial, worst) for trial in trials)
        return [trial for trial in imputed if states is None or trial.state in states]

    def _impute(self, trial: FrozenTrial, worst: float) -> FrozenTrial:
        if trial.number not in self._failures:
            return trial
        complete = create_trial(params=trial.params, distributions=trial.distributions, value=worst)
        complete.number = trial.number
        return complete
