"""A model of one layer, made without any training: what the tests of serving share."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from serve.models.artifact import Golden, Manifest, TensorSpec, write

MEAN, STD = 0.1307, 0.3081
Floats = NDArray[np.float32]


def _weights() -> Floats:
    return np.random.default_rng(0).normal(0, 0.05, (784, 10)).astype(np.float32)


@dataclass(frozen=True)
class TinyModel:
    """Normalise, flatten, one layer, log-softmax: as ONNX, and by hand."""

    weights: Floats

    @classmethod
    def random(cls) -> "TinyModel":
        """The same one every time."""
        return cls(_weights())

    def onnx(self) -> bytes:
        """The network, its normalisation inside."""
        constants = {
            "mean": np.array(MEAN * 255, np.float32),
            "std": np.array(STD * 255, np.float32),
            "weights": self.weights,
        }
        nodes = [
            helper.make_node("Sub", ["image", "mean"], ["centred"]),
            helper.make_node("Div", ["centred", "std"], ["normalised"]),
            helper.make_node("Flatten", ["normalised"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
            helper.make_node("LogSoftmax", ["logits"], ["log_probabilities"]),
        ]
        graph = helper.make_graph(
            nodes,
            "tiny",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 28, 28])],
            [helper.make_tensor_value_info("log_probabilities", TensorProto.FLOAT, ["n", 10])],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        )
        opsets = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())

    def outputs(self, pixels: Floats) -> Floats:
        """Log-probabilities, shape (N, 10), of pixels of shape (N, 1, 28, 28)."""
        flat = (pixels.reshape(len(pixels), -1) / np.float32(255) - MEAN) / STD
        logits = (flat @ self.weights).astype(np.float64)
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_sum = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return np.asarray(shifted - log_sum, np.float32)

    def manifest(self) -> Manifest:
        """Its manifest, with the run and trial of no real run."""
        golden = np.random.default_rng(1).integers(0, 256, (2, 1, 28, 28)).astype(np.float32)
        return Manifest(
            name="tiny",
            inputs=(TensorSpec("image", "float32", (-1, 1, 28, 28), (0.0, 255.0), MEAN, STD),),
            outputs=(TensorSpec("log_probabilities", "float32", (-1, 10)),),
            golden=Golden(golden.tolist(), self.outputs(golden).tolist()),
            labels=tuple("0123456789"),
            run="tiny-run",
            trial_id="abc",
            epoch=6,
            config={"lr": 0.01},
            metrics={"test_accuracy": 0.5},
        )

    def write(self, folder: Path) -> Path:
        """Its model folder, made there."""
        files = {"model.onnx": self.onnx(), "weights.safetensors": b"weights"}
        write(folder, self.manifest(), files)
        return folder
