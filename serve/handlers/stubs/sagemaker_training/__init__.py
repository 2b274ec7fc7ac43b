"""Stub of `sagemaker_training`: a training job's view of itself."""
