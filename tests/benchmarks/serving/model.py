"""The model folder of a network that nobody has trained, which is as quick as one that is."""

import sys
from pathlib import Path

import safetensors.torch
import torch

from app.export.onnx_conversion import to_onnx
from serve.models.artifact import Golden, Manifest, TensorSpec, write
from tests.benchmarks.serving.network import MEAN, STD, Digits


def make(folder: Path) -> None:
    """Write it there."""
    torch.manual_seed(0)
    network = Digits().eval()
    pixels = torch.randint(0, 256, (2, 1, 28, 28)).float()
    with torch.inference_mode():
        outputs = network(pixels)
    manifest = Manifest(
        name="mnist",
        inputs=(TensorSpec("image", "float32", (-1, 1, 28, 28), (0.0, 255.0), MEAN, STD),),
        outputs=(TensorSpec("log_probabilities", "float32", (-1, 10)),),
        labels=tuple("0123456789"),
        golden=Golden(pixels.tolist(), outputs.tolist()),
    )
    files = {
        "model.onnx": to_onnx(network, pixels, "image", "log_probabilities"),
        "weights.safetensors": safetensors.torch.save(network.state_dict()),
    }
    write(folder, manifest, files)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
