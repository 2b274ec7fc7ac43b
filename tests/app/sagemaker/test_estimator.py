"""Estimators: resources, variables, and models that are not there."""

import json
from pathlib import Path
from typing import Any

import pytest

from app import sagemaker
from app.experiment.schema import from_table
from app.run.store import StoreError
from app.sagemaker.pytorch import PyTorch, PyTorchModel
from app.sagemaker.tuner import HyperparameterTuner, InstanceConfig, TuningError
from tests.support.tuners import METRIC, estimator, tuner


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
    with pytest.raises(TuningError, match=r"^distribution: 'smdistributed' is not available here;"):
        estimator(session, distribution={"smdistributed": {"enabled": True}})


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
