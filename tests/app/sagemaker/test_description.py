"""SageMaker's `describe` of runs."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from app import sagemaker
from app.run.journal import Journal
from app.run.record import Record
from app.sagemaker.analytics import HyperparameterTuningJobAnalytics
from app.sagemaker.tuner import HyperparameterTuner, WarmStartConfig, WarmStartTypes
from tests.support.tuners import DEFINITIONS, METRIC


def test_describe_has_sagemakers_keys_and_typed_values(
    session: sagemaker.Session, ended: Path
) -> None:
    told = HyperparameterTuner.attach("ended", session).describe()
    assert told["HyperParameterTuningJobStatus"] == "Completed"
    assert told["TrainingJobStatusCounters"] == {
        "Completed": 1,
        "InProgress": 0,
        "RetryableError": 0,
        "NonRetryableError": 1,
        "Stopped": 1,
    }
    assert told["ObjectiveStatusCounters"] == {"Succeeded": 1, "Pending": 0, "Failed": 2}
    best = told["BestTrainingJob"]
    assert best["TrainingJobName"] == "ended-001"
    assert best["TunedHyperParameters"] == {"lr": 0.01, "batch-size": 32}
    assert best["FinalHyperParameterTuningJobObjectiveMetric"] == {
        "Type": "Minimize",
        "MetricName": METRIC,
        "Value": 0.5,
    }
    assert told["CreationTime"] <= best["TrainingStartTime"] <= best["TrainingEndTime"]
    assert best["TrainingEndTime"] <= told["HyperParameterTuningEndTime"]
    config = told["HyperParameterTuningJobConfig"]
    assert config["Strategy"] == "Bayesian"
    limits = {"MaxNumberOfTrainingJobs": 3, "MaxParallelTrainingJobs": 2}
    assert config["ResourceLimits"] == limits
    assert config["ParameterRanges"]["CategoricalParameterRanges"][0]["Values"] == [32, 64]
    assert config["HyperParameterTuningJobObjective"] == {"Type": "Minimize", "MetricName": METRIC}
    training = told["TrainingJobDefinition"]
    assert training["StaticHyperParameters"] == {"epochs": 2}
    assert training["ResourceConfig"] == {"InstanceCount": 1}
    assert training["AlgorithmSpecification"]["MetricDefinitions"] == DEFINITIONS
    assert told["TuningJobCompletionDetails"] == {"NumberOfTrainingJobsObjectiveNotImproving": 0}
    assert not {"WarmStartConfig", "OverallBestTrainingJob"} & set(told)
    aws = "arn:aws:sagemaker:us-east-1:000000000000"
    assert told["HyperParameterTuningJobArn"] == f"{aws}:hyper-parameter-tuning-job/ended"
    assert best["TrainingJobArn"] == f"{aws}:training-job/ended-001"
    assert training["RoleArn"] == sagemaker.get_execution_role()
    assert session.describe_tuning_job("ended") == told


@pytest.mark.parametrize(
    ("evaluated", "kind"),
    [
        ([{"config": {"x": 0.5}, "value": 0.9}], "IdenticalDataAndAlgorithm"),
        ([], "TransferLearning"),
    ],
)
def test_a_search_says_with_what_it_began(
    session: sagemaker.Session, ended: Path, evaluated: list[dict[str, Any]], kind: str
) -> None:
    shutil.copytree(ended, ended.parent / "parent")
    record = Record("ended", METRIC, "min", seed=0)
    journal = Journal(ended, record)
    journal.append("warm", evaluated=evaluated, points=[], parents=["parent", "gone"])
    journal.append(
        "epoch", trial_id="001", epoch=2, metrics={METRIC: 0.7}, seconds=1, checkpoint=None
    )
    journal.close()
    attached = HyperparameterTuner.attach("ended", session)
    told = attached.describe()
    parents = [{"HyperParameterTuningJobName": name} for name in ("parent", "gone")]
    assert told["WarmStartConfig"] == {
        "ParentHyperParameterTuningJobs": parents,
        "WarmStartType": kind,
    }
    config = WarmStartConfig(WarmStartTypes(kind), ("parent", "gone"))
    assert attached.settings.warm_start_config == config
    if evaluated:
        overall = told["OverallBestTrainingJob"]
        names = (overall["TrainingJobName"], overall["TuningJobName"])
        assert names == ("ended-001", "ended")
    else:
        assert "OverallBestTrainingJob" not in told


def test_hyperbands_epochs_are_told_and_found_again(
    session: sagemaker.Session, ended: Path
) -> None:
    table = json.loads((ended / "experiment.json").read_text())
    table = {**table, "search": "hyperband"}
    (ended / "experiment.json").write_text(json.dumps(table))
    attached = HyperparameterTuner.attach("ended", session)
    config = attached.describe()["HyperParameterTuningJobConfig"]
    assert config["StrategyConfig"] == {
        "HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": 2}
    }
    assert attached.experiment()["epochs"] == 2


def test_a_run_of_an_older_version_is_told_without_its_times(
    session: sagemaker.Session, ended: Path
) -> None:
    journal = ended / "journal.jsonl"
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    for event in events:
        del event["time"]
    journal.write_text("".join(json.dumps(event) + "\n" for event in events))
    told = session.describe_tuning_job("ended")
    assert "CreationTime" not in told
    assert "TrainingStartTime" not in told["BestTrainingJob"]
    frame = HyperparameterTuningJobAnalytics("ended", session).dataframe()
    assert frame["TrainingStartTime"].isna().all()
    assert frame["TrainingElapsedTimeSeconds"].tolist() == [2.0, 0.0, 0.0]
