"""Stands in for `sagemaker_containers.beta`."""
