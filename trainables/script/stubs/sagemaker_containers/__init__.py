"""Stands in for `sagemaker_containers`, which old training scripts import and hardly use."""

from sagemaker_training.environment import Environment  # by the name that it is found by


def training_env() -> Environment:
    """All that the container knows of the training job, as items and as attributes."""
    return Environment()
