"""Stub of `sagemaker_inference`, the toolkit of handlers; it never unpickles a request body."""
