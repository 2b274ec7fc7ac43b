"""Tuners: ranges, attaching to a run, and calls before `fit`."""

from pathlib import Path

import pytest

from app import sagemaker
from app.run.store import StoreError
from app.sagemaker.pytorch import PyTorch
from app.sagemaker.tuner import (
    CategoricalParameter,
    HyperparameterTuner,
    TuningError,
    WarmStartConfig,
    WarmStartTypes,
)
from tests.support.tuners import METRIC, estimator, tuner


def test_ranges_are_told_with_their_types(session: sagemaker.Session) -> None:
    assert tuner(session).hyperparameter_ranges() == {
        "ContinuousParameterRanges": [
            {"Name": "lr", "MinValue": 0.001, "MaxValue": 0.1, "ScalingType": "Auto"}
        ],
        "IntegerParameterRanges": [],
        "CategoricalParameterRanges": [{"Name": "batch-size", "Values": [32, 64]}],
    }
    with pytest.raises(TuningError, match=r"^autotune: not available here"):
        tuner(session, autotune=True)


def test_an_attached_tuner_is_the_one_that_was(session: sagemaker.Session, ended: Path) -> None:
    attached = HyperparameterTuner.attach("ended", session)
    assert attached.latest_tuning_job is not None
    assert (attached.latest_tuning_job.name, attached.latest_tuning_job.job_name) == ("ended",) * 2
    before, again = tuner(session).experiment(), attached.experiment()
    for key in ("space", "metric", "mode", "search", "num_samples", "max_concurrent", "fixed"):
        assert again[key] == ("bayesian" if key == "search" else before[key]) or key == "search"
    assert again["script"]["entry_point"] == before["script"]["entry_point"]
    attached.wait()
    with pytest.raises(
        TuningError, match=r"^job_name: there is a run 'ended' in .*; take another$"
    ):
        attached.fit(job_name="ended")
    with pytest.raises(
        StoreError, match=r"^ended: is a search; name one of its trials, as ended-00"
    ):
        PyTorch.attach("ended", session)
    with pytest.raises(StoreError, match=r"^ended is not running: it is completed$"):
        attached.stop_tuning_job()
    with pytest.raises(StoreError, match=r"^ended is not running: it is completed$"):
        session.stop_tuning_job("ended")
    after = attached.identical_dataset_and_algorithm_tuner(["another"])
    config = after.settings.warm_start_config
    assert config == WarmStartConfig(
        WarmStartTypes.IDENTICAL_DATA_AND_ALGORITHM, ("ended", "another")
    )
    assert after.latest_tuning_job is None
    other = estimator(session, hyperparameters={"epochs": 7})
    moved = attached.transfer_learning_tuner(estimator=other)
    assert moved.estimator is other
    assert attached.estimator.hyperparameters() == {"epochs": 2}


def test_what_is_wrong_with_an_experiment_names_no_file_that_nobody_knows(
    session: sagemaker.Session,
) -> None:
    with pytest.raises(TuningError) as raised:
        tuner(session, metric_definitions=[{"Name": METRIC, "Regex": "("}]).fit()
    assert str(raised.value).startswith(f"script.metrics: '{METRIC}': ( is no regex: ")


def test_nothing_is_known_before_fit(session: sagemaker.Session) -> None:
    with pytest.raises(TuningError, match=r"^no search has begun: call fit\(\) first$"):
        tuner(session).describe()


def test_a_search_that_starts_from_another_names_it_to_the_command(
    session: sagemaker.Session, ended: Path
) -> None:
    config = WarmStartConfig(WarmStartTypes.IDENTICAL_DATA_AND_ALGORITHM, ("ended",))
    after = tuner(
        session,
        warm_start_config=config,
        strategy="Grid",
        hyperparameter_ranges={"batch-size": CategoricalParameter([32, 64])},
    )
    with pytest.raises(TuningError, match=r"^--warm-start: grid search tries every"):
        after.fit(job_name="after")
