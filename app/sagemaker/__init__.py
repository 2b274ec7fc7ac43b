"""SageMaker's notebook API on one's own machine: `from app import sagemaker`.

A thin layer of SageMaker's names (Python SDK v2, and v1's where they differ) over runs, experiments
and endpoints. What means something to AWS alone is taken, and once said to be ignored.
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
