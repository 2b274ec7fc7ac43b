"""SageMaker's notebook API (Python SDK v2) over runs and endpoints of this machine.

Not here: searching and serving themselves, which `python -m app.tune` and `python -m serve` do in
processes of their own. `from app import sagemaker` and `from app.sagemaker.tuner import …` take the
place of SageMaker's imports::

    ranges = {"lr": ContinuousParameter(0.001, 0.1)}
    HyperparameterTuner(estimator, "test loss", ranges, objective_type="Minimize").fit(inputs)
"""

from app.sagemaker import (
    analytics,
    deserializers,
    inputs,
    local,
    parameter,
    predictor,
    pytorch,
    serializers,
    session,
    tuner,
)
from app.sagemaker.analytics import HyperparameterTuningJobAnalytics, TrainingJobAnalytics
from app.sagemaker.inputs import TrainingInput
from app.sagemaker.predictor import Predictor
from app.sagemaker.session import Session, get_execution_role

__all__ = [
    "HyperparameterTuningJobAnalytics",
    "Predictor",
    "Session",
    "TrainingInput",
    "TrainingJobAnalytics",
    "analytics",
    "deserializers",
    "get_execution_role",
    "inputs",
    "local",
    "parameter",
    "predictor",
    "pytorch",
    "serializers",
    "session",
    "tuner",
]
