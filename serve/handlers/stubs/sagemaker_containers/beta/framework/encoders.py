"""Stub of `sagemaker_containers.beta.framework.encoders`: arrays to bodies and back."""

from sagemaker_inference.decoder import decode  # by the name that scripts import it by
from sagemaker_inference.encoder import encode

__all__ = ["decode", "encode"]
