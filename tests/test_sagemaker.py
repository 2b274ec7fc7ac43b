"""SageMaker's notebook API: the same calls, on this machine."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app import sagemaker, store
from app.journal import Journal, Record, write_whole
from app.parameters import SpaceError
from app.sagemaker import session as session_module
from app.sagemaker.analytics import HyperparameterTuningJobAnalytics, describe
from app.sagemaker.deserializers import (
    BytesDeserializer,
    CSVDeserializer,
    JSONDeserializer,
    NumpyDeserializer,
)
from app.sagemaker.inputs import TrainingInput, channels
from app.sagemaker.predictor import EndpointError, Predictor
from app.sagemaker.pytorch import PyTorch
from app.sagemaker.serializers import (
    CSVSerializer,
    IdentitySerializer,
    JSONSerializer,
    NumpySerializer,
)
from app.sagemaker.tuner import (
    CategoricalParameter,
    ContinuousParameter,
    HyperparameterTuner,
    IntegerParameter,
    TuningError,
    TuningJobCompletionCriteriaConfig,
    WarmStartConfig,
)
from app.store import StoreError

SCRIPTS = Path(__file__).parent / "scripts"
METRIC = "average test loss"
REGEX = r"Test set: Average loss: ([0-9\.]+)"
DEFINITIONS = [{"Name": METRIC, "Regex": REGEX}]


@pytest.fixture
def session(tmp_path: Path) -> sagemaker.Session:
    return sagemaker.Session(runs=tmp_path / "runs")


def estimator(session: sagemaker.Session, **changes: Any) -> PyTorch:
    script = {"entry_point": str(SCRIPTS / "digits.py"), "hyperparameters": {"epochs": 2}}
    return PyTorch(**{**script, "sagemaker_session": session, **changes})


def tuner(session: sagemaker.Session, **changes: Any) -> HyperparameterTuner:
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
    return HyperparameterTuner(estimator(session), **{**asked, **changes})


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
    with pytest.raises(SpaceError, match=r"^scaling_type: unknown 'Log'; choose from Auto, "):
        ContinuousParameter(1, 2, "Log").as_entry()


def test_what_is_uploaded_is_a_folder_to_train_from(
    session: sagemaker.Session, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/points").write_text("1 2")
    uri = session.upload_data(tmp_path / "data", bucket=session.default_bucket(), key_prefix="a/b")
    assert (session.runs / ".uploads/local/a/b/points").read_text() == "1 2"
    assert uri == (session.runs / ".uploads/local/a/b").as_uri()
    assert session.upload_data(tmp_path / "data/points").endswith(".uploads/local/data")
    assert store.results(session.runs) == {}
    with pytest.raises(StoreError, match=r"^upload_data: '.*elsewhere' leads out of "):
        session.upload_data(tmp_path / "data", key_prefix="../../elsewhere")
    with pytest.raises(StoreError, match=r"^upload_data: cannot copy .*absent"):
        session.upload_data(tmp_path / "absent")


def test_what_is_of_aws_alone_is_taken_and_said_to_be_ignored_once(
    session: sagemaker.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "_said", set())
    aws = {"instance_type": "ml.m4.xlarge", "framework_version": "1.4.0", "py_version": "py3"}
    with pytest.warns(UserWarning, match="^instance_type, framework_version, py_version: of AWS"):
        estimator(session, role=sagemaker.get_execution_role(), **aws)
    estimator(session, **aws)


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
        warm_start_config=WarmStartConfig("TransferLearning", ["earlier"]),
    )
    experiment = asked.experiment({"training": TrainingInput("file:///data")})
    assert asked.parents == ["earlier"]
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
        tuner(session, **{argument: value})


def test_one_input_is_the_channel_training() -> None:
    assert channels("file:///a") == {"training": "file:///a"}
    assert channels({"a": TrainingInput("x"), "b": "y"}) == {"a": "x", "b": "y"}
    assert channels(None) == {}


def test_what_a_predictor_sends_is_what_the_endpoint_reads() -> None:
    array = np.arange(4.0).reshape(2, 2)
    sent = NumpySerializer().serialize(array)
    assert NumpyDeserializer().deserialize(sent, "application/x-npy").tolist() == array.tolist()
    assert json.loads(JSONSerializer().serialize({"instances": array})) == {
        "instances": [[0.0, 1.0], [2.0, 3.0]]
    }
    assert CSVSerializer().serialize(array) == b"0.0,1.0\n2.0,3.0"
    assert CSVSerializer().serialize("as it is") == b"as it is"
    assert IdentitySerializer("image/png").serialize("a") == b"a"
    with pytest.raises(TypeError, match=r"^set cannot be sent as JSON$"):
        JSONSerializer().serialize({1})


def test_what_an_endpoint_answers_is_read_by_its_type() -> None:
    numbers = NumpyDeserializer(dtype="float32")
    assert numbers.deserialize(b"1,2\n3,4", "text/csv").tolist() == [[1, 2], [3, 4]]
    assert numbers.deserialize(b"[[1, 2]]", "application/json").dtype == np.float32
    assert JSONDeserializer().deserialize(b"[1]", "application/json") == [1]
    assert CSVDeserializer().deserialize(b"1,2\n3,4", "text/csv") == [["1", "2"], ["3", "4"]]
    assert BytesDeserializer().deserialize(b"x", "a/b") == b"x"
    pickled = NumpySerializer().serialize([1.0]).replace(b"<f8", b"|O8")
    with pytest.raises(ValueError, match="Object arrays cannot be loaded"):
        numbers.deserialize(pickled, "application/x-npy")


def test_nothing_answers_where_nothing_is_served() -> None:
    with pytest.raises(EndpointError, match=r"^nothing answers at http://127\.0\.0\.1:9: "):
        Predictor("gone", address="http://127.0.0.1:9").predict([[0.0]])


@pytest.fixture
def ended(session: sagemaker.Session) -> Path:
    """A run of three trials, written by hand: one has a value, one failed, one was stopped."""
    folder = session.runs / "ended"
    folder.mkdir(parents=True)
    write_whole(folder / store.EXPERIMENT, json.dumps({**tuner(session).experiment(), "data": {}}))
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


def test_describe_has_sagemakers_keys_and_typed_values(ended: Path) -> None:
    told = describe(store.read(ended))
    assert told["HyperParameterTuningJobStatus"] == "Completed"
    assert told["TrainingJobStatusCounters"] == {
        "Completed": 1,
        "InProgress": 0,
        "RetryableError": 0,
        "NonRetryableError": 1,
        "Stopped": 1,
    }
    assert told["ObjectiveStatusCounters"] == {"Succeeded": 1, "Pending": 0, "Failed": 1}
    best = told["BestTrainingJob"]
    assert best["TrainingJobName"] == "ended-001"
    assert best["TunedHyperParameters"] == {"lr": 0.01, "batch-size": 32}
    assert best["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] == 0.5
    limits = told["HyperParameterTuningJobConfig"]["ResourceLimits"]
    assert limits == {"MaxNumberOfTrainingJobs": 3, "MaxParallelTrainingJobs": 2}


def test_the_dataframe_has_a_row_for_each_trial(ended: Path) -> None:
    frame = HyperparameterTuningJobAnalytics(store.read(ended)).dataframe()
    assert list(frame.columns) == [
        *("lr", "batch-size", "TrainingJobName", "TrainingJobStatus"),
        *("FinalObjectiveValue", "TrainingElapsedTimeSeconds"),
    ]
    assert frame["batch-size"].tolist() == [32, 64, 64]
    assert frame["TrainingJobStatus"].tolist() == ["Completed", "Failed", "Stopped"]
    assert frame["FinalObjectiveValue"].isna().tolist() == [False, True, True]


def test_a_run_without_a_model_is_not_deployed_and_says_why(
    session: sagemaker.Session, ended: Path
) -> None:
    attached = HyperparameterTuner.attach("ended", session)
    assert attached.best_training_job() == "ended-001"
    with pytest.raises(StoreError, match=r"^ended has no model: it is completed: ended with 1$"):
        attached.deploy()
    with pytest.raises(StoreError, match="has no model; deploy what a tuner found best"):
        estimator(session).deploy()


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
    with pytest.raises(EndpointError, match=r"^nothing answers at "):
        predictor.predict(np.zeros((2, 8), np.float32))


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_search_that_fails_raises_its_own_sentence(session: sagemaker.Session) -> None:
    search = tuner(session, metric_definitions=[{"Name": METRIC, "Regex": "("}])
    with pytest.raises(TuningError, match="average test loss"):
        search.fit()
