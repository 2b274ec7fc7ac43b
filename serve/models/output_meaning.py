"""Inference of an output's meaning from its values and the network's last operation.

The first rule that holds decides:

- the last operation is Sigmoid: `sigmoids`;
- rows are not negative and sum to 1, as those of Softmax: `probabilities`;
- exponentials of rows sum to 1, as those of LogSoftmax: `log_probabilities`;
- there are no labels: `values`;
- all numbers lie in 0 to 1, and the last operation is not one without bounds: `sigmoids`;
- otherwise: `logits`.

A regression with labels looks like logits; its class declares `output_meaning = "values"`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve.models.manifest import LOG_PROBABILITIES, LOGITS, PROBABILITIES, SIGMOIDS, VALUES

SUM_TOLERANCE = 1e-4
"""Largest distance of a row's sum from 1, above the rounding error of float32."""
_ROUNDED = 1e-6
"""Largest distance of a probability from 0 to 1, by rounding."""
_MOVING = {
    *("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Cast", "Slice"),
    *("Concat", "Split", "Gather", "Expand"),
}
"""Operations that move numbers without changing them."""
_UNBOUNDED = {"Gemm", "MatMul", "Add", "Conv", "ConvTranspose", "Einsum", "BatchNormalization"}
"""Operations without bounds, though outputs for a few inputs may lie in 0 to 1."""


def find_meaning(
    outputs: NDArray[Any], labels: Sequence[str] | None, last: str | None = None
) -> str:
    """Infer the meaning of outputs.

    Args:
        outputs: Outputs for several inputs, shape `(N, …)`; more inputs make it more certain.
        labels: Names of the classes, if the model has any.
        last: ONNX name of the network's last operation (see `last_operation`), if known.

    Returns:
        One of `serve.models.manifest.MEANINGS`.
    """
    if last == "Sigmoid":
        return SIGMOIDS
    rows = _by_rows(outputs, labels)
    if _sum_to_one(rows):
        return PROBABILITIES
    if _sum_to_one(_exponentials(rows)):
        return LOG_PROBABILITIES
    if labels is None:
        return VALUES
    bounded = last not in _UNBOUNDED and _all_within_0_and_1(rows)
    return SIGMOIDS if bounded else LOGITS


def contradiction(meaning: str, outputs: NDArray[Any], labels: Sequence[str] | None) -> str | None:
    """Return how outputs contradict a meaning, as a phrase; None if they agree with it.

    `outputs` and `labels` are those of `find_meaning`.
    """
    rows = _by_rows(outputs, labels)
    if meaning in (SIGMOIDS, PROBABILITIES) and not _all_within_0_and_1(rows, _ROUNDED):
        return "do not all lie in 0 to 1"
    if rows.ndim < 2 or rows.shape[-1] < 2:  # One probability of two classes has no sum of 1.
        return None
    if meaning == PROBABILITIES and not _sum_to_one(rows):
        return "have rows that do not sum to 1"
    if meaning == LOG_PROBABILITIES and not _sum_to_one(_exponentials(rows)):
        return "have rows whose exponentials do not sum to 1"
    return None


def last_operation(onnx: bytes) -> str | None:
    """Find the operation that computes a model's output, skipping those that only move numbers.

    Args:
        onnx: The content of `model.onnx`.

    Returns:
        The operation's ONNX name; None where different operations compute parts of the output.
    """
    import onnx as reader  # It is slow to load and seldom needed.

    graph = reader.load_model_from_string(onnx).graph
    producers = {name: node for node in graph.node for name in node.output}
    operations, seen, pending = set[str | None](), set[str](), [graph.output[0].name]
    while pending:
        name = pending.pop()
        node = producers.get(name)
        if node is None or node.op_type not in _MOVING:
            operations.add(None if node is None else node.op_type)
        elif name not in seen:
            seen.add(name)
            pending.extend(node.input if node.op_type == "Concat" else node.input[:1])
    return operations.pop() if len(operations) == 1 else None


def _by_rows(outputs: NDArray[Any], labels: Sequence[str] | None) -> NDArray[np.float64]:
    """Move the classes to the last axis.

    PyTorch has them along the second axis of maps, unless the number of labels contradicts it.
    """
    numbers = outputs.astype(np.float64)
    if numbers.ndim < 3 or (labels is not None and numbers.shape[1] != len(labels)):
        return numbers
    return np.moveaxis(numbers, 1, -1)


def _sum_to_one(rows: NDArray[np.float64]) -> bool:
    """Whether rows of several numbers are not negative and sum to 1."""
    if rows.ndim < 2 or rows.shape[-1] < 2 or not rows.size:
        return False
    if not (rows >= -_ROUNDED).all():  # Before the sum, which infinities would make NaN.
        return False
    return bool((np.abs(rows.sum(axis=-1) - 1) <= SUM_TOLERANCE).all())


def _exponentials(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Exponentials of the rows; exponents are cut at 1, which no log-probability exceeds."""
    return np.exp(np.minimum(rows, 1.0))


def _all_within_0_and_1(numbers: NDArray[np.float64], slack: float = 0.0) -> bool:
    near = (numbers >= -slack) & (numbers <= 1 + slack)
    return bool(numbers.size and near.all())
