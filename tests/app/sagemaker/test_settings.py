"""Experiments that a tuner makes of its settings."""

import pytest

from app import sagemaker
from app.sagemaker.inputs import TrainingInput
from app.sagemaker.tuner import (
    HyperbandStrategyConfig,
    StrategyConfig,
    TuningError,
    TuningJobCompletionCriteriaConfig,
)
from tests.support.tuners import METRIC, REGEX, estimator, tuner


def test_an_experiment_is_what_the_tuner_was_asked_for(session: sagemaker.Session) -> None:
    criteria = TuningJobCompletionCriteriaConfig(
        max_number_of_training_jobs_not_improving=4,
        complete_on_convergence=True,
        target_objective_metric_value=0.1,
    )
    asked = tuner(
        session,
        early_stopping_type="Auto",
        max_runtime_in_seconds=600,
        random_seed=7,
        completion_criteria_config=criteria,
        strategy_config=StrategyConfig(HyperbandStrategyConfig(max_resource=9)),
    )
    experiment = asked.experiment({"training": TrainingInput("file:///data")})
    expected = {
        "search": "Bayesian",
        "metric": METRIC,
        "mode": "min",
        "num_samples": 3,
        "max_concurrent": 2,
        "early_stopping": "median",
        "time_budget": 600,
        "seed": 7,
        "target": 0.1,
        "patience": 4,
        "convergence": 0.01,
        "epochs": 9,
        "fixed": {"epochs": 2},
        "inputs": {"training": "file:///data"},
        "trainable": "script",
    }
    assert {key: experiment[key] for key in expected} == expected
    assert experiment["script"]["metrics"] == [{"name": METRIC, "regex": REGEX}]


def test_a_grid_counts_its_own_jobs_and_other_searches_have_one_unless_told(
    session: sagemaker.Session,
) -> None:
    assert "num_samples" not in tuner(session, max_jobs=None, strategy="Grid").experiment()
    assert tuner(session, max_jobs=None).experiment()["num_samples"] == 1


@pytest.mark.parametrize(
    ("argument", "value", "known"),
    [("objective_type", "Least", "Minimize, Maximize"), ("early_stopping_type", "On", "Off, Auto")],
)
def test_an_unknown_word_lists_the_known_ones(
    session: sagemaker.Session, argument: str, value: str, known: str
) -> None:
    with pytest.raises(TuningError, match=f"^{argument}: unknown {value!r}; choose from {known}$"):
        tuner(session, None, **{argument: value})


def test_what_is_searched_is_no_longer_fixed(session: sagemaker.Session) -> None:
    searched = estimator(session, hyperparameters={"epochs": 2, "lr": 0.5})
    experiment = tuner(session, searched).experiment()
    assert experiment["fixed"] == {"epochs": 2}
    assert "lr" in experiment["space"]
    assert searched.hyperparameters() == {"epochs": 2, "lr": 0.5}
