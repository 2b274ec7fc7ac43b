"""SageMaker's local mode by its name: everything here is local."""

from app.sagemaker.session import Session

LocalSession = Session

__all__ = ["LocalSession"]
