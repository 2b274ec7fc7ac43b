"""Estimators and tuners as a notebook makes them."""

from typing import Any

from app import sagemaker
from app.sagemaker.pytorch import PyTorch
from app.sagemaker.tuner import CategoricalParameter, ContinuousParameter, HyperparameterTuner
from tests.support import SCRIPTS

METRIC = "average test loss"
REGEX = r"Test set: Average loss: ([0-9\.]+)"
DEFINITIONS = [{"Name": METRIC, "Regex": REGEX}]


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
