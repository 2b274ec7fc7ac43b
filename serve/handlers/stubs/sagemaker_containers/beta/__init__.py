"""Stub of `sagemaker_containers.beta`."""
