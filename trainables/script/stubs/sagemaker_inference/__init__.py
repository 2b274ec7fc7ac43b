"""Stands in for `sagemaker_inference`: what handlers beside a training script import."""
