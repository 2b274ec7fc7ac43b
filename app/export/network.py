"""A trial's network, ready to be exported: tried at several batch sizes, taking pixels.

Covered: networks within `torch.compile` or a data-parallel wrapper, with any arguments that take
one tensor, that change their input, keep what they computed, cannot be copied, or lose the batch
axis for a batch of one. Weights of another floating type become float32, which is said.
Not covered, and refused in one sentence: several inputs or outputs, a batch of a fixed size,
inputs or outputs that cannot be float32.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from app.export.user_errors import ExportError, promised, told
from trainables.contract import InputRange

BATCHES = (1, 2, 3, 16, 65)
"""Batch sizes that a model is tried at: alone, small, and more than the server runs at once."""


class NetworkError(ExportError):
    """A network that runs, but cannot be a model, such as one that takes a single batch size."""


class Thin(nn.Module):
    """A network with its normalisation inside: one tensor in, which stays as it is, one out."""

    def __init__(self, network: nn.Module, scale: InputRange | None) -> None:
        super().__init__()
        self.network = network
        self.scale = scale
        self.row: tuple[int, ...] | None = None
        """The shape of one input's outputs, where the network loses the batch axis at one."""

    def forward(self, pixels: Tensor) -> Tensor:
        """The network's outputs, batch axis first, for pixels from low to high."""
        outputs: Tensor = self.network(self.scaled(pixels))
        if self.row is not None:  # the exporter drops this as needless: see graph.to_onnx
            outputs = outputs.reshape(pixels.shape[0], *self.row)
        return outputs.float() if outputs.dtype == torch.float64 else outputs

    def scaled(self, pixels: Tensor) -> Tensor:
        """Give what the network is given for these pixels, which is its own to change."""
        scale = self.scale
        return pixels.clone() if scale is None else (pixels / scale.high - scale.mean) / scale.std


@dataclass(frozen=True)
class Prepared:
    """A network that a model can be made of."""

    network: Thin
    plain: nn.Module
    """The user's own network, whose weights are kept beside the model."""
    example: Tensor
    """Pixels, float32, batch axis first."""
    remarks: tuple[str, ...]
    """What the user should know of how it was made ready."""


def prepare(trial: Any) -> Prepared:
    """The network of a trial that is set up; raises ExportError where no model can be made of it.

    The trial is used up: its network is on the CPU and in evaluation mode afterwards.
    """
    with promised("model()"):
        network = trial.model()
    if not isinstance(network, nn.Module):
        raise ExportError(f"model() must give a torch.nn.Module, gave {_kind(network)}")
    with promised("model()"):
        network = plain(network).cpu().eval().to(memory_format=torch.contiguous_format)
        others = _other_types(network)
        network = network.float() if others else network
    remarks = [f"its weights are {others}; the model computes in float32"] if others else []
    example = _example(trial)
    scale = getattr(trial, "input_range", None)
    thin = Thin(network, scale).eval()
    pixels = example.float()
    if scale is not None:
        pixels = ((pixels * scale.std + scale.mean) * scale.high).round()
        pixels = pixels.clamp(scale.low, scale.high)
    with eager():
        _try(thin, pixels, str(example.dtype).removeprefix("torch."))
    return Prepared(thin, network, pixels, tuple(remarks))


def plain(network: nn.Module) -> nn.Module:
    """The network without what `torch.compile` and data-parallel training put around its parts."""
    if isinstance(network, torch._dynamo.OptimizedModule):
        return plain(network._orig_mod)
    if isinstance(network, (DataParallel, DistributedDataParallel)):
        return plain(network.module)
    if not isinstance(network, torch.jit.ScriptModule):
        network._compiled_call_impl = None  # what network.compile() sets
        for name, child in network._modules.items():
            network._modules[name] = None if child is None else plain(child)
    return network


@contextmanager
def eager() -> Iterator[None]:
    """Meanwhile nothing is compiled, and nothing kept for gradients."""
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        yield


def rows(example: Tensor, size: int) -> Tensor:
    """A batch of that size, of the example's inputs again and again."""
    times = -(-size // len(example))
    return example.repeat(times, *[1] * (example.ndim - 1))[:size]


def _other_types(network: nn.Module) -> str:
    """The floating types of the network's weights that are not float32."""
    tensors = (*network.parameters(), *network.buffers())
    types = {tensor.dtype for tensor in tensors if tensor.is_floating_point()} - {torch.float32}
    return " and ".join(sorted(str(each).removeprefix("torch.") for each in types))


def _example(trial: Any) -> Tensor:
    with promised("example_input()"):
        example = trial.example_input()
    needed = "example_input() must give one tensor of examples, batch axis first"
    if isinstance(example, (tuple, list, dict)):
        raise ExportError(
            f"{needed}, gave a {_kind(example)} of {len(example)};"
            " networks with several inputs cannot be exported"
        )
    if not isinstance(example, Tensor):
        raise ExportError(f"{needed}, gave {_kind(example)}")
    if not example.ndim or not len(example) or example.is_complex():
        raise ExportError(f"{needed}, gave {example.dtype} of shape {list(example.shape)}")
    return example.detach().cpu()


def _try(network: Thin, example: Tensor, given: str) -> None:
    """Run the network on the example and on other batches; raises NetworkError where it cannot.

    `given` is the type that the example came in.
    """
    outputs = _first(network, example, given)
    if len(example) == 1:
        outputs = _first(network, rows(example, 2), given)
    network.row = None if _keeps_axis(network, example, outputs) else tuple(outputs.shape[1:])
    if not torch.allclose(network(example), network(example), rtol=1e-4, atol=1e-4):
        raise NetworkError(
            "forward() gives other outputs each time for the same inputs; it must draw no random"
            " numbers in evaluation mode"
        )
    own = len(example)
    wrong = {size: _wrong(network, rows(example, size), outputs) for size in BATCHES}
    found = {size: reason for size, reason in wrong.items() if reason is not None}
    if not found:
        return
    size, reason = next(iter(found.items()))
    if set(found) | {own} >= set(BATCHES):
        raise NetworkError(
            f"forward()'s batch is fixed at {own}: for a batch of {size} it {reason}"
        )
    raise NetworkError(f"forward() must take a batch of any size: for one of {size} it {reason}")


def _first(network: Thin, batch: Tensor, given: str) -> Tensor:
    """The outputs of a batch that the network must take, one tensor of float32 for each input."""
    try:
        with promised("forward()"):
            outputs: Any = network.network(network.scaled(batch))
    except ExportError as error:
        if given.startswith(("float", "bfloat")):
            raise
        raise NetworkError(
            f"example_input() gives {given}; a model takes float32, with which {error}"
        ) from error
    if isinstance(outputs, (tuple, list, dict)):
        names = f" ({', '.join(map(str, outputs))})" if isinstance(outputs, dict) else ""
        raise NetworkError(
            f"forward() must give one tensor, gave a {_kind(outputs)} of {len(outputs)}{names};"
            " networks with several outputs cannot be exported"
        )
    if not isinstance(outputs, Tensor):
        raise NetworkError(f"forward() must give one tensor, gave {_kind(outputs)}")
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


def _keeps_axis(network: Thin, example: Tensor, outputs: Tensor) -> bool:
    """Whether a single input's outputs have the batch axis, as several inputs' have."""
    try:
        alone = network.network(network.scaled(example[:1]))
    except (Exception, SystemExit):
        return True  # told once all sizes are tried
    lost = isinstance(alone, Tensor) and alone.numel() == outputs[:1].numel()
    return not lost or alone.shape == outputs[:1].shape


def _wrong(network: Thin, batch: Tensor, outputs: Tensor) -> str | None:
    """What is wrong with a batch's outputs, as words that follow "it"; None where nothing is."""
    try:
        found = network(batch)
    except (Exception, SystemExit) as error:
        return f"raised {told(error)}"
    expected = [len(batch), *outputs.shape[1:]]
    return None if list(found.shape) == expected else f"gives outputs of shape {list(found.shape)}"


def _kind(value: object) -> str:
    return type(value).__name__
