"""Training scripts and models by the names of `sagemaker.pytorch`."""

from app.sagemaker.pytorch.estimator import PyTorch
from app.sagemaker.pytorch.model import PyTorchModel, PyTorchPredictor

__all__ = ["PyTorch", "PyTorchModel", "PyTorchPredictor"]
