"""Stands in for `sagemaker_training`: what a training job knows of itself."""
