"""Conversion of a network to ONNX: one graph with a free batch axis, without traces of its code."""

import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from app.export.network import eager_inference, repeat_to_batch
from app.export.user_code import ExportError, describe_error
from app.terminal import muted
from trainables.errors.printable import COLOURS

FIXED_BATCH = re.compile(r"specialized to be a constant \((\d+)\)|to a constant \((\d+)\)")
EXPLANATIONS = {
    "GuardOnDataDependentSymNode": "forward() decides by the values that it is given (an `if`,"
    " `float()` or `.item()`), which a graph cannot; torch.where can",
}
"""Exceptions of the exporter, by class name, in words that help its user."""
CODE_FIELDS = ("doc_string", "metadata_props")
"""ONNX fields that the exporter fills with stack traces, paths and lines of source."""
EXPORT_LOGGERS = (
    "torch.onnx",
    "torch.export",
    "onnxscript",
    "onnx_ir",
    "torch.fx",
    "torch._dynamo",
)


def to_onnx(
    network: nn.Module,
    example: Tensor,
    input_name: str,
    output_name: str,
    *,
    output_shape: Sequence[int] | None = None,
) -> bytes:
    """Convert a network to an ONNX model that takes a batch of any size.

    Args:
        network: The network, on the CPU in evaluation mode.
        example: Example input, (N, ...), float32.
        input_name: Name of the model's input.
        output_name: Name of the model's output.
        output_shape: Shape of one input's output, if the network loses the batch axis for a batch
            of one; the graph then restores it.

    Raises:
        ExportError: The network cannot be converted.
    """
    try:
        # The exporter prints the graph that it cannot export; the search writes meanwhile.
        with silence_loggers(*EXPORT_LOGGERS), eager_inference(), muted():
            program = torch.onnx.export(
                network,
                # The exporter takes a batch of one for a size that never changes.
                (repeat_to_batch(example, max(2, len(example))),),
                dynamo=True,
                input_names=[input_name],
                output_names=[output_name],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
        assert program is not None  # the dynamo exporter always returns one
        proto = program.model_proto
        _clear_code_fields(proto)
        if output_shape is not None:
            _append_reshape(proto.graph, output_shape)
        content: bytes = proto.SerializeToString()
    except (Exception, SystemExit) as error:
        raise ExportError(f"the network has no ONNX form: {_first_cause(error)}") from error
    return content


def _append_reshape(graph: Any, output_shape: Sequence[int]) -> None:
    """Reshape the graph's output to (N, *output_shape)."""
    from onnx import helper, numpy_helper

    output = graph.output[0].name
    bare, shape = f"{output}_bare", f"{output}_shape"
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [bare if name == output else name for name in names]
    sizes = np.array([-1, *output_shape], np.int64)
    graph.initializer.append(numpy_helper.from_array(sizes, shape))
    graph.node.append(helper.make_node("Reshape", [bare, shape], [output]))


def _clear_code_fields(message: Any) -> None:
    """Clear `CODE_FIELDS` in an ONNX message and in all messages within it."""
    for name in CODE_FIELDS:
        if name in message.DESCRIPTOR.fields_by_name:
            message.ClearField(name)
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in (value,) if hasattr(value, "DESCRIPTOR") else value:
                _clear_code_fields(inner)


def _first_cause(error: BaseException) -> str:
    """Describe the first cause of an exporter's error, without its advice on what to do next."""
    while error.__cause__ is not None:
        error = error.__cause__
    if type(error).__name__ in EXPLANATIONS:
        return EXPLANATIONS[type(error).__name__]
    text = COLOURS.sub("", str(error))
    if fixed := FIXED_BATCH.search(text):
        return f"its batch is fixed at {fixed[1] or fixed[2]}"
    return describe_error(error)


@contextmanager
def silence_loggers(*names: str) -> Iterator[None]:
    """Run the block without warnings and without messages of these loggers."""
    levels = {name: logging.getLogger(name).level for name in names}
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        with warnings.catch_warnings():
            # The exporter warns of its own internals, which neither its users nor ours can change.
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
