"""Modules of SageMaker's containers, for scripts that import them where they are not installed."""
