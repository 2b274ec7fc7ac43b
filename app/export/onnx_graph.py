"""A network as ONNX: one piece, its batch free, and nothing in it of the code that it came from."""

import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from app.export.network import eager, rows
from app.export.user_errors import ExportError, told
from app.terminal import muted
from trainables.errors.reason import COLOURS

FIXED = re.compile(r"specialized to be a constant \((\d+)\)|to a constant \((\d+)\)")
PLAINLY = {
    "GuardOnDataDependentSymNode": "forward() decides by the values that it is given (an `if`,"
    " `float()` or `.item()`), which a graph cannot; torch.where can",
}
"""What exceptions of the exporter mean, by their class."""
OF_THE_CODE = ("doc_string", "metadata_props")
"""Fields of ONNX that the exporter fills with stack traces, paths and lines of source."""
TALKATIVE = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir", "torch.fx", "torch._dynamo")
"""Loggers of what exports, whose remarks are about its own insides."""


def to_onnx(
    network: nn.Module,
    example: Tensor,
    input_name: str,
    output_name: str,
    *,
    row: Sequence[int] | None = None,
) -> bytes:
    """The network as an ONNX model; raises ExportError where it has no such form.

    `example` is float32 of shape (N, …); the model takes any N. A network that loses the batch
    axis for a single input is given it back by `row`, the shape of one input's outputs.
    """
    try:
        # The exporter prints the graph of what it cannot export; the search talks meanwhile.
        with quiet(*TALKATIVE), eager(), muted():
            program = torch.onnx.export(
                network,
                # A batch of one would be taken for a size that never changes.
                (rows(example, max(2, len(example))),),
                dynamo=True,
                input_names=[input_name],
                output_names=[output_name],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
        assert program is not None  # the dynamo exporter always gives one
        proto = program.model_proto
        strip(proto)
        if row is not None:
            _reshape(proto.graph, row)
        content: bytes = proto.SerializeToString()
    except (Exception, SystemExit) as error:
        raise ExportError(f"the network has no ONNX form: {reason(error)}") from error
    return content


def _reshape(graph: Any, row: Sequence[int]) -> None:
    """Let the graph's output have the batch axis first, and then the shape of a row."""
    from onnx import helper, numpy_helper

    output = graph.output[0].name
    bare, shape = f"{output}_bare", f"{output}_shape"
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [bare if name == output else name for name in names]
    graph.initializer.append(numpy_helper.from_array(np.array([-1, *row], np.int64), shape))
    graph.node.append(helper.make_node("Reshape", [bare, shape], [output]))


def strip(message: Any) -> None:
    """Take out of an ONNX message, and of all that is in it, what tells of its source code."""
    for name in OF_THE_CODE:
        if name in message.DESCRIPTOR.fields_by_name:
            message.ClearField(name)
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in (value,) if hasattr(value, "DESCRIPTOR") else value:
                strip(inner)


def reason(error: BaseException) -> str:
    """Why an export failed: the first cause, not the exporter's advice on what to do next."""
    while error.__cause__ is not None:
        error = error.__cause__
    if type(error).__name__ in PLAINLY:
        return PLAINLY[type(error).__name__]
    text = COLOURS.sub("", str(error))
    if fixed := FIXED.search(text):
        return f"its batch is fixed at {fixed[1] or fixed[2]}"
    return told(error)


@contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """Meanwhile no warning is shown, and nothing that those loggers say."""
    levels = {name: logging.getLogger(name).level for name in loggers}
    try:
        for name in loggers:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        with warnings.catch_warnings():
            # The exporter warns of its own insides, which neither its users nor ours can change.
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
