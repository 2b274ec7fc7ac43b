"""A trial's network with its normalization inside, and without the wrappers of training."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from trainables.contract import InputRange


class NormalizedNetwork(nn.Module):
    """A network with its input normalization: one tensor in, never changed in place, one out."""

    def __init__(self, network: nn.Module, input_range: InputRange | None) -> None:
        super().__init__()
        self.network = network
        self.input_range = input_range
        self.output_shape: tuple[int, ...] | None = None
        """Shape of one input's output, if the network loses the batch axis for a batch of one."""

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the outputs, (N, ...), for `pixels` from `input_range.low` to `.high`."""
        outputs: Tensor = self.network(self.normalize(pixels))
        # The ONNX exporter optimizes this reshape away; `to_onnx` adds it to the graph again.
        if self.output_shape is not None:
            outputs = outputs.reshape(pixels.shape[0], *self.output_shape)
        return outputs.float() if outputs.dtype == torch.float64 else outputs

    def normalize(self, pixels: Tensor) -> Tensor:
        """Return the network's input, a new tensor that the network may change in place."""
        scale = self.input_range
        return pixels.clone() if scale is None else (pixels / scale.high - scale.mean) / scale.std


def unwrap(network: nn.Module) -> nn.Module:
    """Remove the wrappers of `torch.compile` and of data-parallel training, from submodules too."""
    if isinstance(network, torch._dynamo.OptimizedModule):
        return unwrap(network._orig_mod)
    if isinstance(network, (DataParallel, DistributedDataParallel)):
        return unwrap(network.module)
    if not isinstance(network, torch.jit.ScriptModule):
        network._compiled_call_impl = None  # set by network.compile()
        for name, child in network._modules.items():
            network._modules[name] = None if child is None else unwrap(child)
    return network


@contextmanager
def eager_inference() -> Iterator[None]:
    """Run the block without gradients and without compiling."""
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        yield


def repeat_to_batch(example: Tensor, size: int) -> Tensor:
    """Return a batch of `size` inputs, (size, ...), which repeats the example's."""
    times = -(-size // len(example))
    return example.repeat(times, *[1] * (example.ndim - 1))[:size]
