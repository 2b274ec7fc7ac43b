"""SageMaker's notebook API: the same calls, on this machine."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app import sagemaker
from app.experiment.distributions import SpaceError
from app.experiment.schema import from_table
from app.run import store
from app.run.journal import Journal
from app.run.record import Record
from app.run.store import StoreError
from app.sagemaker import aws
from app.sagemaker.analytics import HyperparameterTuningJobAnalytics, TrainingJobAnalytics
from app.sagemaker.inputs import TrainingInput, channels
from app.sagemaker.predictor import EndpointError
from app.sagemaker.pytorch import PyTorch, PyTorchModel
from app.sagemaker.tuner import (
    CategoricalParameter,
    ContinuousParameter,
    HyperbandStrategyConfig,
    HyperparameterTuner,
    InstanceConfig,
    IntegerParameter,
    StrategyConfig,
    TuningError,
    TuningJobCompletionCriteriaConfig,
    WarmStartConfig,
    WarmStartTypes,
)
from app.storage.files import replace_file
from tests.support import SCRIPTS
from tests.support.object_store import ObjectStore
from trainables.script.channels import channel

METRIC = "average test loss"
REGEX = r"Test set: Average loss: ([0-9\.]+)"
DEFINITIONS = [{"Name": METRIC, "Regex": REGEX}]


@pytest.fixture
def unwarned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the warnings that were given."""
    monkeypatch.setattr(aws, "_warned", set())


@pytest.fixture
def session(tmp_path: Path) -> sagemaker.Session:
    return sagemaker.Session(runs=tmp_path / "runs")


def estimator(session: sagemaker.Session, **changes: Any) -> PyTorch:
    script = {"entry_point": str(SCRIPTS / "digits.py"), "hyperparameters": {"epochs": 2}}
    return PyTorch(**{**script, "sagemaker_session": session, **changes})


def tuner(
    session: sagemaker.Session, searched: PyTorch | None = None, **changes: Any
) -> HyperparameterTuner:
    asked: dict[str, Any] = {
        "objective_metric_name": METRIC,
        "hyperparameter_ranges": {
            "lr": ContinuousParameter(0.001, 0.1),
            "batch-size": CategoricalParameter([32, 64]),
        },
        "metric_definitions": DEFINITIONS,
        "objective_type": "Minimize",
        "max_jobs": 3,
        "max_parallel_jobs": 2,
    }
    return HyperparameterTuner(searched or estimator(session), **{**asked, **changes})


@pytest.mark.parametrize(
    ("parameter", "entry"),
    [
        (
            ContinuousParameter(0.001, 0.1),
            {"type": "continuous", "low": 0.001, "high": 0.1, "scale": "log"},
        ),
        (
            ContinuousParameter(0, 0.5),
            {"type": "continuous", "low": 0.0, "high": 0.5, "scale": "linear"},
        ),
        (
            ContinuousParameter(0.9, 0.99, "ReverseLogarithmic"),
            {"type": "continuous", "low": 0.9, "high": 0.99, "scale": "reverse-log"},
        ),
        (
            IntegerParameter(1, 4, scaling_type="Linear"),
            {"type": "integer", "low": 1, "high": 4, "scale": "linear"},
        ),
        (CategoricalParameter([32, 64]), {"type": "categorical", "values": [32, 64]}),
        (CategoricalParameter("sgd"), {"type": "categorical", "values": ["sgd"]}),
    ],
)
def test_a_range_is_an_entry_of_a_space(parameter: Any, entry: dict[str, Any]) -> None:
    assert parameter.as_entry() == entry


def test_an_unknown_scale_lists_those_there_are() -> None:
    with pytest.raises(SpaceError, match=r"^scaling_type: unknown 'x'; choose from Auto, "):
        ContinuousParameter(1, 2, "x").as_entry()


def test_what_is_uploaded_is_a_folder_to_train_from(
    session: sagemaker.Session, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/points").write_text("1 2")
    uri = session.upload_data(tmp_path / "data", bucket=session.default_bucket(), key_prefix="a/b")
    assert (session.runs / ".uploads/local/a/b/points").read_text() == "1 2"
    assert uri == (session.runs / ".uploads/local/a/b").as_uri()
    assert session.upload_data(tmp_path / "data/points").endswith(".uploads/local/data")
    assert store.names(session.runs) == []
    with pytest.raises(StoreError, match=r"^upload_data: '.*elsewhere' leads out of "):
        session.upload_data(tmp_path / "data", key_prefix="../../elsewhere")
    with pytest.raises(StoreError, match=r"^upload_data: cannot copy .*absent: it is not there"):
        session.upload_data(tmp_path / "absent")


def test_what_is_uploaded_lies_beside_runs_that_are_behind_a_uri(
    s3: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    session = sagemaker.Session(runs=s3.uri("uploaded/runs"))
    (tmp_path / "data/more").mkdir(parents=True)
    (tmp_path / "data/more/points").write_text("1 2")
    uri = session.upload_data(tmp_path / "data", key_prefix="a/b")
    assert uri == s3.uri("uploaded/runs/.uploads/local/a/b")
    fetched = channel("training", uri).folder()
    assert (fetched / "more/points").read_text() == "1 2"
    uri = session.upload_data(tmp_path / "data/more/points")
    assert (channel("training", uri).folder() / "points").read_text() == "1 2"
    assert store.names(session.runs) == []
    with pytest.raises(StoreError, match=r"^upload_data: '.*elsewhere' leads out of "):
        session.upload_data(tmp_path / "data", key_prefix="../../elsewhere")


def test_what_is_of_aws_alone_is_taken_and_said_to_be_ignored_once(
    session: sagemaker.Session, unwarned: None
) -> None:
    given = {"framework_version": "1.4.0", "py_version": "py3", "max_run": 3600}
    with pytest.warns(UserWarning, match="^framework_version, py_version, max_run: of AWS alone"):
        estimator(session, role=sagemaker.get_execution_role(), **given)
    estimator(session, **given)
    with pytest.raises(TypeError, match=r"^unexpected argument 'framework_versoin'$"):
        estimator(session, framework_versoin="1.4.0")
    with pytest.raises(TuningError, match=r"^dependencies: put them below source_dir"):
        estimator(session, dependencies=["lib"])


def test_instances_are_workers_and_their_type_says_whether_they_have_gpus(
    session: sagemaker.Session, unwarned: None
) -> None:
    def given(**instances: Any) -> Any:
        return tuner(session, estimator(session, **instances)).experiment()["resources"]

    assert given(instance_count=1) == given(train_instance_count=None) == {}
    assert given(instance_count=2) == given(train_instance_count=2) == {"workers_per_trial": 2}
    with pytest.warns(UserWarning, match=r"^instance_type: 'ml.m4.xlarge' has no GPU, so trials"):
        assert given(train_instance_type="ml.m4.xlarge") == {"gpus_per_trial": 0}
    for kind in ("local_gpu", "ml.p3.2xlarge", "ml.g5.xlarge"):
        with pytest.warns(UserWarning, match=f"^instance_type: '{kind}' has GPUs, so trials use"):
            assert given(instance_type=kind) == {}
    asked = tuner(session)
    asked.override_resource_config([InstanceConfig(2, "ml.g5.xlarge"), InstanceConfig(1)])
    assert asked.experiment()["resources"] == {"workers_per_trial": 2}
    assert asked.estimator.instance_count == 2


def test_processes_are_started_by_torchrun_where_that_is_asked_for(
    session: sagemaker.Session,
) -> None:
    asked = estimator(session, distribution={"torch_distributed": {"enabled": True}})
    torchrun = "sagemaker_torch_distributed_enabled"
    assert asked.tables(None, [])["fixed"] == {torchrun: True, "epochs": 2}
    none = estimator(session, distribution={"torch_distributed": {"enabled": False}})
    assert none.tables(None, [])["fixed"] == {"epochs": 2}
    with pytest.raises(TuningError, match=r"^distribution: 'smdistributed' is not to be had here;"):
        estimator(session, distribution={"smdistributed": {"enabled": True}})


def test_what_means_less_here_is_said_once(session: sagemaker.Session, unwarned: None) -> None:
    with pytest.warns(UserWarning, match=r"^min_resource: every epoch is judged, from the first"):
        HyperbandStrategyConfig(max_resource=9, min_resource=3)
    with pytest.raises(TuningError, match=r"^source_dir: s3://a/b is no folder of this machine$"):
        tuner(session, estimator(session, source_dir="s3://a/b")).experiment()


def test_every_name_is_there_after_a_plain_import() -> None:
    names = """
        Session get_execution_role TrainingInput Predictor HyperparameterTuningJobAnalytics
        analytics.TrainingJobAnalytics tuner.HyperparameterTuner tuner.WarmStartTypes
        parameter.IntegerParameter pytorch.PyTorch pytorch.estimator.PyTorch
        local.LocalSession pytorch.model.PyTorchModel pytorch.PyTorchPredictor session.Session
        inputs.TrainingInput
        predictor.Predictor serializers.JSONSerializer deserializers.JSONDeserializer
    """
    for name in names.split():
        found: Any = sagemaker
        for part in name.split("."):
            found = getattr(found, part)
        assert found.__module__.startswith("app.sagemaker")


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


def test_ranges_are_told_with_their_types(session: sagemaker.Session) -> None:
    assert tuner(session).hyperparameter_ranges() == {
        "ContinuousParameterRanges": [
            {"Name": "lr", "MinValue": 0.001, "MaxValue": 0.1, "ScalingType": "Auto"}
        ],
        "IntegerParameterRanges": [],
        "CategoricalParameterRanges": [{"Name": "batch-size", "Values": [32, 64]}],
    }
    with pytest.raises(TuningError, match=r"^autotune: ranges are not made up here"):
        tuner(session, autotune=True)


@pytest.mark.parametrize(
    ("argument", "value", "known"),
    [("objective_type", "Least", "Minimize, Maximize"), ("early_stopping_type", "On", "Off, Auto")],
)
def test_an_unknown_word_lists_the_known_ones(
    session: sagemaker.Session, argument: str, value: str, known: str
) -> None:
    with pytest.raises(TuningError, match=f"^{argument}: unknown {value!r}; choose from {known}$"):
        tuner(session, None, **{argument: value})


def test_one_input_is_the_channel_training() -> None:
    assert channels("file:///a") == {"training": "file:///a"}
    assert channels({"a": TrainingInput("x"), "b": "y"}) == {"a": "x", "b": "y"}
    assert channels(None) == {}


@pytest.fixture
def ended(session: sagemaker.Session) -> Path:
    """A run of three trials, written by hand: one has a value, one failed, one was stopped."""
    folder = session.runs / "ended"
    folder.mkdir(parents=True)
    replace_file(folder / store.EXPERIMENT, json.dumps({**tuner(session).experiment(), "data": {}}))
    journal = Journal(folder, Record("ended", METRIC, "min", seed=0))
    journal.append("run", versions={})
    for trial_id, size in (("001", 32), ("002", 64), ("003", 64)):
        config = {"lr": 0.01, "batch-size": size}
        journal.append("trial", trial_id=trial_id, config=config, leg=1)
    epoch = {"epoch": 1, "metrics": {METRIC: 0.5}, "seconds": 2.0, "checkpoint": None}
    journal.append("epoch", trial_id="001", **epoch)
    for trial_id, status in (("001", "completed"), ("002", "failed"), ("003", "stopped")):
        error = "ended with 1" if status == "failed" else None
        journal.append("end", trial_id=trial_id, status=status, error=error)
    journal.append("status", status="completed", reason=None)
    journal.close()
    return folder


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


def test_the_dataframe_has_a_row_for_each_trial(
    session: sagemaker.Session, ended: Path, tmp_path: Path
) -> None:
    analytics = HyperparameterTuningJobAnalytics("ended", session)
    frame = analytics.dataframe()
    assert list(frame.columns) == [
        *("lr", "batch-size", "TrainingJobName", "TrainingJobStatus", "FinalObjectiveValue"),
        *("TrainingStartTime", "TrainingEndTime", "TrainingElapsedTimeSeconds"),
    ]
    assert frame["batch-size"].tolist() == [32, 64, 64]
    assert frame["TrainingJobStatus"].tolist() == ["Completed", "Failed", "Stopped"]
    assert frame["FinalObjectiveValue"].isna().tolist() == [False, True, True]
    assert str(frame["TrainingStartTime"].dt.tz) == "UTC"
    analytics.export_csv(tmp_path / "trials.csv")
    assert len((tmp_path / "trials.csv").read_text().splitlines()) == 4
    assert [each["ObjectiveStatus"] for each in analytics.training_job_summaries()] == [
        *("Succeeded", "Failed", "Failed")
    ]
    assert analytics.tuning_ranges["lr"]["ScalingType"] == "Logarithmic"
    assert analytics.description()["HyperParameterTuningJobName"] == "ended"
    analytics.clear_cache()


def test_a_trials_curve_is_a_table(session: sagemaker.Session, ended: Path, tmp_path: Path) -> None:
    curve = TrainingJobAnalytics("ended-001", [METRIC], session)
    assert curve.dataframe().to_dict("list") == {
        "timestamp": [2.0],
        "metric_name": [METRIC],
        "value": [0.5],
    }
    curve.export_csv(tmp_path / "curve.csv")
    assert len(TrainingJobAnalytics("ended-001", ["other"], session).dataframe()) == 0
    assert (tmp_path / "curve.csv").exists()


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


def test_a_run_without_a_model_is_not_deployed_and_says_why(
    session: sagemaker.Session, ended: Path
) -> None:
    attached = HyperparameterTuner.attach("ended", session)
    assert attached.best_training_job() == "ended-001"
    with pytest.raises(StoreError, match=r"^ended has no model: it is completed: ended with 1$"):
        attached.deploy()
    with pytest.raises(
        StoreError, match=r"has no model; call fit\(\), or deploy what a tuner foun"
    ):
        estimator(session).deploy()
    with pytest.raises(TuningError, match=r"^no training has begun: call fit\(\) first$"):
        estimator(session).training_job_analytics  # noqa: B018
    with pytest.raises(StoreError, match=r"^a: there is no model at .*absent$"):
        PyTorchModel(f"file://{session.runs}/absent", name="a").deploy()


def test_what_is_searched_is_no_longer_fixed(session: sagemaker.Session) -> None:
    searched = estimator(session, hyperparameters={"epochs": 2, "lr": 0.5})
    experiment = tuner(session, searched).experiment()
    assert experiment["fixed"] == {"epochs": 2}
    assert "lr" in experiment["space"]
    assert searched.hyperparameters() == {"epochs": 2, "lr": 0.5}


def test_a_definition_of_a_metric_needs_its_keys(session: sagemaker.Session) -> None:
    with pytest.raises(TuningError, match=r"^metric_definitions: each needs Name and Regex, got {"):
        tuner(session, metric_definitions=[{"Name": METRIC}]).experiment()


def test_a_run_of_no_script_has_no_estimator(session: sagemaker.Session, ended: Path) -> None:
    table = json.loads((ended / "experiment.json").read_text())
    others = {key: each for key, each in table.items() if key not in ("script", "inputs")}
    others |= {"trainable": "mnist"}
    (ended / "experiment.json").write_text(json.dumps(others))
    told = r"^ended: tunes .mnist., and an estimator is for scripts; .* show ended --runs "
    with pytest.raises(StoreError, match=told):
        HyperparameterTuner.attach("ended", session)
    with pytest.raises(StoreError, match=told):
        PyTorch.attach("ended-001", session)
    assert session.describe_tuning_job("ended")["HyperParameterTuningJobName"] == "ended"


def test_an_attached_estimator_has_its_variables(session: sagemaker.Session, ended: Path) -> None:
    given = {"WORD": "hello", "HF_TOKEN": "mine"}
    asked = load_table(tuner(session, estimator(session, environment=given)).experiment())
    (ended / "experiment.json").write_text(json.dumps(asked))
    attached = PyTorch.attach("ended-001", session)
    assert attached.environment == {"WORD": "hello"}
    told = session.describe_tuning_job("ended")
    assert told["TrainingJobDefinition"]["Environment"] == {"WORD": "hello"}


def load_table(table: dict[str, Any]) -> dict[str, Any]:
    """An experiment as its run keeps it."""
    return from_table(table).as_json()


def test_a_trials_curve_is_read_from_a_bucket(s3: ObjectStore, ended: Path) -> None:
    for file in ("experiment.json", "result.json", "journal.jsonl"):
        s3.write(f"curves/ended/{file}", (ended / file).read_bytes())
    there = sagemaker.Session(runs=s3.uri("curves"))
    assert TrainingJobAnalytics("ended-001", [METRIC], there).dataframe()["value"].tolist() == [0.5]


def test_what_is_wrong_with_an_experiment_names_no_file_that_nobody_knows(
    session: sagemaker.Session,
) -> None:
    with pytest.raises(TuningError) as raised:
        tuner(session, metric_definitions=[{"Name": METRIC, "Regex": "("}]).fit()
    assert str(raised.value).startswith(f"script.metrics: '{METRIC}': ( is no regex: ")


def test_nothing_is_known_before_fit(session: sagemaker.Session) -> None:
    with pytest.raises(TuningError, match=r"^no search has begun: call fit\(\) first$"):
        tuner(session).describe()


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_notebook_from_its_data_to_an_answer(
    session: sagemaker.Session, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/readme").write_text("the script draws its own points")
    inputs = session.upload_data(tmp_path / "data")
    search = tuner(session)
    search.fit({"training": inputs}, job_name="notebook")
    assert "trial 001" in capsys.readouterr().out
    frame = search.analytics().dataframe()
    assert frame["TrainingJobStatus"].tolist() == ["Completed"] * 3
    assert search.best_training_job().startswith("notebook-00")
    best = search.best_estimator()
    assert {"lr", "batch-size", "epochs"} == set(best.hyperparameters())
    predictor = search.deploy(initial_instance_count=1)
    try:
        answer = predictor.predict(np.zeros((2, 8), np.float32))
        assert answer.shape == (2, 10)
        assert np.allclose(np.exp(answer).sum(axis=1), 1, atol=1e-5)
    finally:
        search.delete_endpoint()
    with pytest.raises(EndpointError, match=r"serves no such endpoint; it serves none$"):
        predictor.predict(np.zeros((2, 8), np.float32))
    # Any other trial's model is exported when it is asked for.
    other = next(n for n in frame["TrainingJobName"] if n != search.best_training_job())
    model = search.best_estimator({"TrainingJobName": other}).model_data
    assert json.loads(Path(model, "model.json").read_text())["trial_id"] == other[-3:]
    after = search.identical_dataset_and_algorithm_tuner()
    after.settings = replace(after.settings, max_jobs=1)
    after.fit({"training": inputs}, job_name="after")
    assert "warm start from notebook: 3 trials reused" in capsys.readouterr().out


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_search_behind_a_uri_is_found_and_deployed_elsewhere(
    s3: ObjectStore, ray_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "one"))
    place = s3.uri("notebooks/runs")
    session = sagemaker.Session(runs=place, address=ray_address)
    (tmp_path / "readme").write_text("the script draws its own points")
    inputs = session.upload_data(tmp_path / "readme")
    tuner(session, max_jobs=2).fit({"training": inputs}, job_name="far")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    elsewhere = sagemaker.Session(runs=place)
    found = HyperparameterTuner.attach("far", elsewhere)
    told = found.describe()
    assert told["HyperParameterTuningJobStatus"] == "Completed"
    assert told["TrainingJobDefinition"]["OutputDataConfig"]["S3OutputPath"].startswith(
        place.partition("?")[0] + "/far"
    )
    assert None not in found.analytics().dataframe()["TrainingStartTime"].tolist()
    predictor = found.deploy()
    try:
        assert predictor.predict(np.zeros((2, 8), np.float32)).shape == (2, 10)
    finally:
        found.delete_endpoint()
    with pytest.raises(TuningError, match=r"^job_name: there is a run 'far' in s3://notebooks"):
        tuner(elsewhere).fit(job_name="far")


@pytest.fixture
def joined(tmp_path: Path, ray_address: str) -> sagemaker.Session:
    """A session whose searches join a Ray that is there."""
    return sagemaker.Session(runs=tmp_path / "runs", address=ray_address)


WORD = """
import json, os
from pathlib import Path

def model_fn(folder):
    return Path(folder, "word").read_text()

def transform_fn(model, body, content_type, accept):
    return json.dumps({model: json.loads(body)}), "application/json"

if __name__ == "__main__":
    Path(os.environ["SM_MODEL_DIR"], "word").write_text(os.environ["WORD"])
    print('{"tuneport": {"letters": 5}}')
"""


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_training_alone_needs_no_metric_and_is_deployed(
    joined: sagemaker.Session, tmp_path: Path
) -> None:
    (tmp_path / "word.py").write_text(WORD)
    alone = PyTorch(tmp_path / "word.py", environment={"WORD": "hello"}, sagemaker_session=joined)
    alone.fit(job_name="alone")
    assert alone.latest_training_job is not None
    assert alone.latest_training_job.name == "alone"
    curve = alone.training_job_analytics.dataframe()
    assert dict(zip(curve["metric_name"], curve["value"], strict=True)) == {
        "letters": 5.0,
        "exit status": 0.0,
    }
    again = PyTorch.attach("alone", joined)
    assert again.hyperparameters() == {}
    predictor = again.deploy(
        serializer=sagemaker.serializers.JSONSerializer(),
        deserializer=sagemaker.deserializers.JSONDeserializer(),
    )
    assert predictor.predict([1, 2]) == {"hello": [1, 2]}
    with pytest.raises(EndpointError, match=r"^alone: is running; delete it first"):
        alone.deploy()
    joined.delete_endpoint("alone")
    predictor.delete_endpoint()
    with pytest.raises(EndpointError, match=r"^alone: this process serves no such endpoint"):
        predictor.predict([1])


class Interrupting(io.StringIO):
    """Whoever watches presses Ctrl-C at the first word."""

    def write(self, text: str) -> int:
        raise KeyboardInterrupt


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_an_interrupt_of_whoever_waits_saves_the_run(
    joined: sagemaker.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = tuner(joined, max_jobs=50)
    with monkeypatch.context() as patched:
        patched.setattr("sys.stdout", Interrupting())
        with pytest.raises(KeyboardInterrupt):
            search.fit({"training": str(tmp_path)}, job_name="left")
    assert search.describe()["HyperParameterTuningJobStatus"] == "Stopped"
    assert store.read(joined.runs / "left").result["status"] == "interrupted"


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_search_that_fails_raises_its_own_sentence(session: sagemaker.Session) -> None:
    search = tuner(session, metric_definitions=[{"Name": METRIC, "Regex": "("}])
    with pytest.raises(TuningError, match="average test loss"):
        search.fit(wait=False)
