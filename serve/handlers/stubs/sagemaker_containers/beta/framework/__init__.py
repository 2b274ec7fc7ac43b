"""Stub of `sagemaker_containers.beta.framework`: the modules that old handlers import from it."""

from sagemaker_containers.beta.framework import encoders, worker
from sagemaker_inference import content_types, errors  # by the name that scripts import it by

__all__ = ["content_types", "encoders", "errors", "worker"]
