"""The worst value is imputed to failed trials."""

from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from app.experiment.objective import Objective
from app.search.observations import ImputingStorage

X: dict[str, BaseDistribution] = {"x": FloatDistribution(0.0, 1.0)}


def make_study(*values: float | None, mode: str = "min") -> Any:
    storage = ImputingStorage(Objective("loss", mode))
    study = optuna.create_study(storage=storage)
    for number, value in enumerate(values):
        state = TrialState.FAIL if value is None else TrialState.COMPLETE
        study.add_trial(create_trial(params={"x": 0.1}, distributions=X, state=state, value=value))
        if value is None:
            storage.impute(number)
    return study


@pytest.mark.parametrize(("mode", "worst"), [("min", 0.9), ("max", 0.2)])
def test_a_failure_counts_as_the_worst_value(mode: str, worst: float) -> None:
    study = make_study(0.5, None, 0.2, 0.9, mode=mode)
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    assert [(trial.number, trial.value) for trial in complete] == [
        (0, 0.5),
        (1, worst),
        (2, 0.2),
        (3, 0.9),
    ]


def test_failures_without_a_value_to_compare_are_equal() -> None:
    assert [trial.value for trial in make_study(None, None).trials] == [0.0, 0.0]


def test_trials_are_unchanged_without_failures() -> None:
    assert [trial.value for trial in make_study(0.5, 0.2).trials] == [0.5, 0.2]
