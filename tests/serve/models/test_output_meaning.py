"""Inference of an output's meaning from the last operation and from values."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from app.export.onnx_conversion import to_onnx
from serve.models.manifest import MEANINGS
from serve.models.output_meaning import contradiction, find_meaning, last_operation
from trainables.contract import OUTPUT_MEANINGS

NAMES = ("x", "y", "z")
INPUTS = torch.randn(16, 4, generator=torch.Generator().manual_seed(1))


def linear(outputs: int = 3) -> nn.Linear:
    """A layer that is the same every time."""
    torch.manual_seed(0)
    return nn.Linear(4, outputs)


def numbers(network: nn.Module) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Its outputs for 16 inputs."""
    with torch.inference_mode():
        return np.asarray(network(INPUTS).numpy())


def last(*nodes: tuple[str, Sequence[str], str]) -> str | None:
    """The last operation of a graph of nodes (operation, inputs, output), which gives `end`."""
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, [output]) for kind, inputs, output in nodes],
        "graph",
        [helper.make_tensor_value_info("in", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("end", TensorProto.FLOAT, ["n", 3])],
    )
    return last_operation(helper.make_model(graph).SerializeToString())


class Squeezed(nn.Module):
    """Gives the one sigmoid of each input without an axis of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = linear(1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape (N,)."""
        return torch.sigmoid(self.linear(inputs)).squeeze(1)


def test_both_packages_know_the_same_meanings() -> None:
    assert MEANINGS == OUTPUT_MEANINGS


@pytest.mark.parametrize(
    ("network", "operation", "labels", "meaning"),
    [
        (linear(), "Gemm", NAMES, "logits"),
        (nn.Sequential(linear(), nn.LogSoftmax(1)), "LogSoftmax", NAMES, "log_probabilities"),
        (Squeezed(), "Sigmoid", ("no", "yes"), "sigmoids"),
    ],
)
def test_the_meaning_of_an_exported_network_is_found(
    network: nn.Module, operation: str, labels: Sequence[str], meaning: str
) -> None:
    onnx = to_onnx(network.eval(), INPUTS, "input", "output")
    assert last_operation(onnx) == operation
    assert find_meaning(numbers(network), labels, operation) == meaning


@pytest.mark.parametrize(
    ("nodes", "operation"),
    [
        ([("Sigmoid", ["in"], "end")], "Sigmoid"),
        ([("Sigmoid", ["in"], "a"), ("Reshape", ["a", "shape"], "end")], "Sigmoid"),
        (
            [("Sigmoid", ["in"], "a"), ("Sigmoid", ["in"], "b"), ("Concat", ["a", "b"], "end")],
            "Sigmoid",
        ),
        ([("Sigmoid", ["in"], "a"), ("Exp", ["in"], "b"), ("Concat", ["a", "b"], "end")], None),
        ([("Sigmoid", ["in"], "a"), ("Concat", ["a", "in"], "end")], None),
        ([("Identity", ["in"], "end")], None),
    ],
)
def test_the_last_operation_is_the_one_that_makes_the_numbers(
    nodes: list[tuple[str, Sequence[str], str]], operation: str | None
) -> None:
    assert last(*nodes) == operation


@pytest.mark.parametrize(
    ("network", "operation", "labels", "meaning"),
    [
        (linear(), "Gemm", None, "values"),
        (linear(1), "Gemm", ("no", "yes"), "logits"),
        (nn.Sequential(linear(), nn.Softmax(1)), "Softmax", NAMES, "probabilities"),
        (nn.Sequential(linear(), nn.Softmax(1)), "Softmax", None, "probabilities"),
        (nn.Sequential(linear(), nn.LogSoftmax(1)), "Sub", NAMES, "log_probabilities"),
        (nn.Sequential(linear(), nn.Sigmoid()), "Sigmoid", NAMES, "sigmoids"),
        (nn.Sequential(linear(), nn.Sigmoid()), "Sigmoid", None, "sigmoids"),
        (nn.Sequential(linear(), nn.Sigmoid()), "Clip", NAMES, "sigmoids"),
        (nn.Sequential(linear(), nn.Sigmoid()), "Clip", None, "values"),
        # A map of classes, its classes on the second axis, as torch has them.
        (
            nn.Sequential(linear(6), nn.Unflatten(1, (3, 2)), nn.Softmax(1)),
            "Softmax",
            NAMES,
            "probabilities",
        ),
        (nn.Sequential(linear(6), nn.Unflatten(1, (3, 2))), "Gemm", NAMES, "logits"),
    ],
)
def test_meaning_is_inferred_from_operation_and_numbers(
    network: nn.Module, operation: str, labels: Sequence[str] | None, meaning: str
) -> None:
    assert find_meaning(numbers(network), labels, operation) == meaning


@pytest.mark.parametrize(
    ("outputs", "labels", "meaning"),
    [
        ([[0.2, 0.8], [0.5, 0.5]], ("a", "b"), "probabilities"),
        ([[0.2, 0.8], [0.5, 0.6]], ("a", "b"), "sigmoids"),
        ([[0.2, 0.8], [0.5, 0.6]], None, "values"),
        ([[-1.2, 2.2], [0.5, 0.5]], ("a", "b"), "logits"),
        ([[250.0, 3.0], [260.0, 2.0]], ("price", "rooms"), "logits"),
        ([[1.0], [1.0]], None, "values"),
        ([0.25, 0.75], ("no", "yes"), "sigmoids"),
        ([[0.5, 0.2, -np.inf], [1.0, 3.0, -np.inf]], NAMES, "logits"),
        ([[0.0, -np.inf], [-np.inf, 0.0]], ("a", "b"), "log_probabilities"),
        ([[np.inf, -np.inf], [np.nan, 0.0]], ("a", "b"), "logits"),
        ([[1000.0, -1000.0], [999.0, 2.0]], ("a", "b"), "logits"),
    ],
)
def test_meaning_is_inferred_from_numbers_alone(
    outputs: list[object], labels: Sequence[str] | None, meaning: str
) -> None:
    assert find_meaning(np.array(outputs, np.float32), labels) == meaning


def test_a_layer_without_bounds_gives_no_sigmoids_whatever_its_numbers() -> None:
    outputs = np.array([[0.2, 0.8], [0.5, 0.6]], np.float32)
    assert find_meaning(outputs, ("a", "b"), "Gemm") == "logits"


@pytest.mark.parametrize(
    ("meaning", "outputs", "labels", "wrong"),
    [
        ("probabilities", [[0.2, 0.8]], ("a", "b"), None),
        ("probabilities", [[0.2, 0.9]], ("a", "b"), "have rows that do not sum to 1"),
        ("probabilities", [[-1.0, 2.0]], ("a", "b"), "do not all lie in 0 to 1"),
        ("probabilities", [[0.2], [0.3]], ("no", "yes"), None),
        ("log_probabilities", np.log([[0.2, 0.8]]).tolist(), ("a", "b"), None),
        ("log_probabilities", [[1.0, 2.0]], ("a", "b"), "have rows whose exponentials do not sum"),
        ("sigmoids", [[0.9, 0.8]], ("a", "b"), None),
        ("sigmoids", [[0.9, 1.8]], ("a", "b"), "do not all lie in 0 to 1"),
        ("logits", [[0.2, 0.8]], ("a", "b"), None),
        ("values", [[0.2, 0.8]], None, None),
    ],
)
def test_outputs_that_contradict_a_meaning_are_reported(
    meaning: str, outputs: list[object], labels: Sequence[str] | None, wrong: str | None
) -> None:
    found = contradiction(meaning, np.array(outputs, np.float32), labels)
    assert found == wrong or (found or "").startswith(wrong or "nothing")
