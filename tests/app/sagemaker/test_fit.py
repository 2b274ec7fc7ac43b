"""Searches and trainings that run, from their data to an answer."""

import io
from pathlib import Path

import numpy as np
import pytest

from app import sagemaker
from app.run import store
from app.sagemaker.predictor import EndpointError
from app.sagemaker.pytorch import PyTorch
from app.sagemaker.tuner import HyperparameterTuner, TuningError
from tests.support.object_store import ObjectStore
from tests.support.tuners import METRIC, tuner


@pytest.fixture
def joined(tmp_path: Path, ray_address: str) -> sagemaker.Session:
    """A session whose searches join a Ray that is there."""
    return sagemaker.Session(runs=tmp_path / "runs", address=ray_address)


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_notebook_from_its_data_to_an_answer(
    joined: sagemaker.Session, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/readme").write_text("the script draws its own points")
    inputs = joined.upload_data(tmp_path / "data")
    search = tuner(joined, max_jobs=2)
    search.fit({"training": inputs}, job_name="notebook")
    assert "trial 001" in capsys.readouterr().out
    frame = search.analytics().dataframe()
    assert frame["TrainingJobStatus"].tolist() == ["Completed"] * 2
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


@pytest.mark.ray
@pytest.mark.nightly
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
    """Output stream at whose first word the user presses Ctrl-C."""

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
