"""Checks that a network takes any batch size and gives one output for each input."""

from typing import Any

import torch
from torch import Tensor

from app.export.network import NormalizedNetwork, repeat_to_batch
from app.export.user_code import ExportError, describe_error, wrap_errors

BATCH_SIZES = (1, 2, 3, 16, 65)
"""Batch sizes that are tried: one input, a few, and more than the server runs at once."""


class NetworkError(ExportError):
    """A network that runs but cannot be exported, for instance one with a fixed batch size."""


def check_batch_sizes(network: NormalizedNetwork, example: Tensor, example_type: str) -> None:
    """Run the network on the example and on batches of several sizes; set its `output_shape`.

    Args:
        network: The network, in evaluation mode.
        example: Pixels, (N, ...), float32.
        example_type: The type in which the user gave the example, for messages.

    Raises:
        ExportError: The network's code raised.
        NetworkError: It gives outputs that a model cannot give, or takes only some batch sizes.
    """
    outputs = _checked_outputs(network, example, example_type)
    if len(example) == 1:
        outputs = _checked_outputs(network, repeat_to_batch(example, 2), example_type)
    keeps_axis = _keeps_batch_axis(network, example, outputs)
    network.output_shape = None if keeps_axis else tuple(outputs.shape[1:])
    if not torch.allclose(network(example), network(example), rtol=1e-4, atol=1e-4):
        raise NetworkError(
            "forward() gives other outputs each time for the same inputs; it must draw no random"
            " numbers in evaluation mode"
        )
    batches = {size: repeat_to_batch(example, size) for size in BATCH_SIZES}
    faults = {
        size: fault
        for size, batch in batches.items()
        if (fault := _find_fault(network, batch, outputs)) is not None
    }
    if not faults:
        return
    size, fault = next(iter(faults.items()))
    if faults.keys() | {len(example)} >= set(BATCH_SIZES):
        raise NetworkError(
            f"forward()'s batch is fixed at {len(example)}: for a batch of {size} it {fault}"
        )
    raise NetworkError(f"forward() must take a batch of any size: for one of {size} it {fault}")


def _checked_outputs(network: NormalizedNetwork, batch: Tensor, example_type: str) -> Tensor:
    """Return the outputs for a batch that the network must take: one float32 tensor, (N, ...)."""
    try:
        with wrap_errors("forward()"):
            outputs: Any = network.network(network.normalize(batch))
    except ExportError as error:
        if example_type.startswith(("float", "bfloat")):
            raise
        raise NetworkError(
            f"example_input() gives {example_type}; a model takes float32, with which {error}"
        ) from error
    kind = type(outputs).__name__
    if isinstance(outputs, (tuple, list, dict)):
        names = f" ({', '.join(map(str, outputs))})" if isinstance(outputs, dict) else ""
        raise NetworkError(
            f"forward() must give one tensor, gave a {kind} of {len(outputs)}{names};"
            " networks with several outputs cannot be exported"
        )
    if not isinstance(outputs, Tensor):
        raise NetworkError(f"forward() must give one tensor, gave {kind}")
    if outputs.dtype not in (torch.float32, torch.float64):
        raise NetworkError(
            f"forward() gives {str(outputs.dtype).removeprefix('torch.')}, and a model gives"
            " float32; leave torch.autocast and casts out of it, or let it give `.float()`"
        )
    if outputs.isnan().any():
        raise NetworkError("forward() gives NaN for example_input()")
    if len(batch) > 1 and outputs.shape[:1] != batch.shape[:1]:
        raise NetworkError(
            f"forward() must give one output for each input, batch axis first; it gives shape"
            f" {list(outputs.shape)} for {len(batch)} inputs"
        )
    return outputs


def _keeps_batch_axis(network: NormalizedNetwork, example: Tensor, outputs: Tensor) -> bool:
    """Whether the output for a batch of one has the batch axis, as for larger batches."""
    try:
        alone = network.network(network.normalize(example[:1]))
    except (Exception, SystemExit):
        return True  # `_find_fault` reports it.
    is_same_size = isinstance(alone, Tensor) and alone.numel() == outputs[:1].numel()
    return not is_same_size or alone.shape == outputs[:1].shape


def _find_fault(network: NormalizedNetwork, batch: Tensor, outputs: Tensor) -> str | None:
    """Return the fault of a batch's outputs, as words that follow "it"; None if there is none."""
    try:
        shape = network(batch).shape
    except (Exception, SystemExit) as error:
        return f"raised {describe_error(error)}"
    expected = [len(batch), *outputs.shape[1:]]
    return None if list(shape) == expected else f"gives outputs of shape {list(shape)}"
