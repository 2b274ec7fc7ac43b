"""Stands in for `sagemaker_containers.beta.framework`: what old handlers import of it."""

from sagemaker_containers.beta.framework import encoders, worker
from sagemaker_inference import content_types, errors  # by the name that it is found by

__all__ = ["content_types", "encoders", "errors", "worker"]
