"""Training scripts and models by the names of `sagemaker.pytorch`.

Not here: hyperparameter ranges and tuners, which are one folder up. `PyTorch("train.py").fit()`
trains once.
"""

from app.sagemaker.pytorch.estimator import PyTorch
from app.sagemaker.pytorch.model import PyTorchModel, PyTorchPredictor

__all__ = ["PyTorch", "PyTorchModel", "PyTorchPredictor"]
