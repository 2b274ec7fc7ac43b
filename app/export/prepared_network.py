"""A trial's network, prepared for export: on the CPU, unwrapped, with its normalization inside.

Covered: networks within `torch.compile` or a data-parallel wrapper, with any arguments that take
one tensor, that change their input, cache activations, cannot be copied, or lose the batch axis
for a batch of one. Weights of another floating-point type are converted to float32, with a remark.
Not covered, and refused in one sentence: several inputs or outputs, a fixed batch size, inputs or
outputs that cannot be float32.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from app.export.batch_sizes import check_batch_sizes
from app.export.network import NormalizedNetwork, eager_inference, unwrap
from app.export.user_code import ExportError, wrap_errors


@dataclass(frozen=True)
class PreparedNetwork:
    """A network that is ready for export."""

    network: NormalizedNetwork
    user_network: nn.Module
    """The user's own network, whose weights are saved beside the model."""
    example: Tensor
    """Example input, (N, ...), float32 pixels."""
    remarks: tuple[str, ...]
    """Sentences for the user on how the network was changed."""


def prepare_network(trial: Any) -> PreparedNetwork:
    """Prepare the network of a trial that is set up; it is moved to the CPU in evaluation mode.

    Raises:
        ExportError: The network cannot be exported.
    """
    call = getattr(trial, "model_by", "model()")
    with wrap_errors(call):
        network = trial.model()
    if not isinstance(network, nn.Module):
        raise ExportError(f"{call} must give a torch.nn.Module, gave {type(network).__name__}")
    with wrap_errors(call):
        network = unwrap(network).cpu().eval().to(memory_format=torch.contiguous_format)
        others = _types_beside_float32(network)
        network = network.float() if others else network
    remarks = [f"its weights are {others}; the model computes in float32"] if others else []
    example = _example_input(trial)
    input_range = getattr(trial, "input_range", None)
    normalized = NormalizedNetwork(network, input_range).eval()
    pixels = example.float()
    if input_range is not None:
        pixels = (pixels * input_range.std + input_range.mean) * input_range.high
        pixels = pixels.round().clamp(input_range.low, input_range.high)
    with eager_inference():
        check_batch_sizes(normalized, pixels, str(example.dtype).removeprefix("torch."))
    return PreparedNetwork(normalized, network, pixels, tuple(remarks))


def _types_beside_float32(network: nn.Module) -> str:
    """Return the other floating-point types of the network's weights, joined by "and"."""
    tensors = (*network.parameters(), *network.buffers())
    types = {tensor.dtype for tensor in tensors if tensor.is_floating_point()} - {torch.float32}
    return " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in types))


def _example_input(trial: Any) -> Tensor:
    with wrap_errors("example_input()"):
        example = trial.example_input()
    requirement = "example_input() must give one tensor of examples, batch axis first"
    kind = type(example).__name__
    if isinstance(example, (tuple, list, dict)):
        raise ExportError(
            f"{requirement}, gave a {kind} of {len(example)};"
            " networks with several inputs cannot be exported"
        )
    if not isinstance(example, Tensor):
        raise ExportError(f"{requirement}, gave {kind}")
    if not example.ndim or not len(example) or example.is_complex():
        raise ExportError(f"{requirement}, gave {example.dtype} of shape {list(example.shape)}")
    return example.detach().cpu()
