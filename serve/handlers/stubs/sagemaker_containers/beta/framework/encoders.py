"""Arrays to bodies and back."""

from sagemaker_inference.decoder import decode  # by the name that it is found by
from sagemaker_inference.encoder import encode

__all__ = ["decode", "encode"]
