"""Stub of `sagemaker_containers`, which old training scripts import and hardly use."""

from sagemaker_training.environment import Environment  # by the name that scripts import it by


def training_env() -> Environment:
    """Return the environment of the training job."""
    return Environment()
