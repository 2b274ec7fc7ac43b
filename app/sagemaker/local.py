"""`LocalSession`, SageMaker's local mode: here every session is local."""

from app.sagemaker.session import Session

LocalSession = Session

__all__ = ["LocalSession"]
