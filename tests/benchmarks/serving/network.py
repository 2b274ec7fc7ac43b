"""The network that every server answers with, and its weights: the same for all."""

import os
from pathlib import Path
from typing import cast

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.benchmarks.serving.arms import MODEL_VARIABLE

MEAN, STD = 0.1307, 0.3081


class Digits(nn.Module):
    """The built-in trainable's network, its normalisation inside: pixels (N, 1, 28, 28)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 10, 5), nn.MaxPool2d(2), nn.ReLU(),
            nn.Conv2d(10, 20, 5), nn.MaxPool2d(2), nn.ReLU(),
            nn.Flatten(), nn.Linear(320, 50), nn.ReLU(), nn.Linear(50, 10),
        )  # fmt: skip

    def forward(self, pixels: Tensor) -> Tensor:
        """Log-probabilities of the ten digits."""
        return functional.log_softmax(self.layers((pixels / 255 - MEAN) / STD), dim=1)


def loaded() -> nn.Module:
    """The network of the folder that the environment names, on one thread."""
    torch.set_num_threads(1)
    network = Digits()
    path = Path(os.environ[MODEL_VARIABLE], "weights.safetensors")
    network.load_state_dict(safetensors.torch.load_file(path))
    return network.eval()


@torch.inference_mode()
def answer(network: nn.Module, pixels: Tensor) -> list[list[float]]:
    """The outputs for pixels, as lists."""
    outputs = network(pixels.reshape(-1, 1, 28, 28).float())
    return cast("list[list[float]]", outputs.tolist())
