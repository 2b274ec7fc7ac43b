"""What a model's outputs mean, found where nobody has said it.

The network's last operation and its outputs for some inputs tell it, the first that holds:

- the last operation is Sigmoid: `sigmoids`;
- rows are nowhere negative and sum to 1, as Softmax gives them: `probabilities`;
- the exponentials of rows sum to 1, as those of LogSoftmax do: `log_probabilities`;
- there are no labels: `values`;
- all numbers lie in 0 to 1, and not since a last operation without bounds happens to give such
  ones: `sigmoids`;
- everything else: `logits`.

Numbers of a regression that labels name cannot be told from logits: their class says so itself, by
`output_meaning = "values"`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve.models.manifest import LOG_PROBABILITIES, LOGITS, PROBABILITIES, SIGMOIDS, VALUES

SUM_TOLERANCE = 1e-4
"""How far float32 carries the sum of a row's probabilities from 1, and more."""
_ROUNDED = 1e-6
"""How far it carries one of them outside 0 to 1."""
_MOVING = {
    *("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Cast", "Slice"),
    *("Concat", "Split", "Gather", "Expand"),
}
"""Operations that move numbers and change none."""
_UNBOUNDED = {"Gemm", "MatMul", "Add", "Conv", "ConvTranspose", "Einsum", "BatchNormalization"}
"""Operations after which numbers have no bounds, though those for a few inputs lie in 0 to 1."""


def find_meaning(
    outputs: NDArray[Any], labels: Sequence[str] | None, last: str | None = None
) -> str:
    """Tell what outputs are, one of `serve.manifest.MEANINGS`.

    Args:
        outputs: Outputs for several inputs, shape `(N, …)`; the more inputs, the surer.
        labels: The names of the classes, where the model has any.
        last: The network's last operation as ONNX calls it (see `last_operation`), where known.
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
    """Say what outputs do that those of such a meaning never do; None where they may have it.

    `outputs` and `labels` are those of `find_meaning`.
    """
    rows = _by_rows(outputs, labels)
    if meaning in (SIGMOIDS, PROBABILITIES) and not _all_within_0_and_1(rows, _ROUNDED):
        return "do not all lie in 0 to 1"
    if rows.ndim < 2 or rows.shape[-1] < 2:  # The one probability of two has no row to sum up.
        return None
    if meaning == PROBABILITIES and not _sum_to_one(rows):
        return "have rows that do not sum to 1"
    if meaning == LOG_PROBABILITIES and not _sum_to_one(_exponentials(rows)):
        return "have rows whose exponentials do not sum to 1"
    return None


def last_operation(onnx: bytes) -> str | None:
    """Find what makes the numbers of a model's output, as ONNX calls it.

    What only moves them is passed over. Where several operations make parts of an output, it is
    None unless all are the same.
    """
    import onnx as reader  # It is slow to load, and only asked for where a meaning is to be found.

    graph = reader.load_model_from_string(onnx).graph
    makers = {name: node for node in graph.node for name in node.output}
    found, seen, left = set[str | None](), set[str](), [graph.output[0].name]
    while left:
        name = left.pop()
        node = makers.get(name)
        if node is None or node.op_type not in _MOVING:
            found.add(None if node is None else node.op_type)
        elif name not in seen:
            seen.add(name)
            left.extend(node.input if node.op_type == "Concat" else node.input[:1])
    return found.pop() if len(found) == 1 else None


def _by_rows(outputs: NDArray[Any], labels: Sequence[str] | None) -> NDArray[np.float64]:
    """The outputs with the classes along the last axis.

    Torch has them along the second axis of maps; labels tell where one of the axes is as long.
    """
    numbers = outputs.astype(np.float64)
    if numbers.ndim < 3 or (labels is not None and numbers.shape[1] != len(labels)):
        return numbers
    return np.moveaxis(numbers, 1, -1)


def _sum_to_one(rows: NDArray[np.float64]) -> bool:
    """Whether the rows are shares of a whole; a row of one number is no share."""
    if rows.ndim < 2 or rows.shape[-1] < 2 or not rows.size:
        return False
    if not (rows >= -_ROUNDED).all():  # That leaves infinities, of which no sum is taken.
        return False
    return bool((np.abs(rows.sum(axis=-1) - 1) <= SUM_TOLERANCE).all())


def _exponentials(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Their exponentials; those of large numbers are no probabilities and need no value."""
    return np.exp(np.minimum(rows, 1.0))


def _all_within_0_and_1(numbers: NDArray[np.float64], slack: float = 0.0) -> bool:
    near = (numbers >= -slack) & (numbers <= 1 + slack)
    return bool(numbers.size and near.all())
