"""Names of the API, and arguments that mean something to AWS alone."""

from typing import Any

import pytest

from app import sagemaker
from app.sagemaker.inputs import TrainingInput, channels
from app.sagemaker.tuner import HyperbandStrategyConfig, TuningError
from tests.support.tuners import estimator, tuner


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


def test_one_input_is_the_channel_training() -> None:
    assert channels("file:///a") == {"training": "file:///a"}
    assert channels({"a": TrainingInput("x"), "b": "y"}) == {"a": "x", "b": "y"}
    assert channels(None) == {}


def test_what_is_of_aws_alone_is_taken_and_said_to_be_ignored_once(
    session: sagemaker.Session, unwarned: None
) -> None:
    given = {"framework_version": "1.4.0", "py_version": "py3", "max_run": 3600}
    with pytest.warns(
        UserWarning, match="^framework_version, py_version, max_run: ignored, because only AWS"
    ):
        estimator(session, role=sagemaker.get_execution_role(), **given)
    estimator(session, **given)
    with pytest.raises(TypeError, match=r"^unexpected argument 'framework_versoin'$"):
        estimator(session, framework_versoin="1.4.0")
    with pytest.raises(TuningError, match=r"^dependencies: put them below source_dir"):
        estimator(session, dependencies=["lib"])


def test_what_means_less_here_is_said_once(session: sagemaker.Session, unwarned: None) -> None:
    with pytest.warns(UserWarning, match=r"^min_resource: ignored, because every epoch is judged"):
        HyperbandStrategyConfig(max_resource=9, min_resource=3)
    with pytest.raises(
        TuningError, match=r"^source_dir: s3://a/b is not a folder of this machine$"
    ):
        tuner(session, estimator(session, source_dir="s3://a/b")).experiment()
