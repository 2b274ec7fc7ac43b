"""Check a class's labels and meaning against the outputs of its network before it is trained."""

import copy
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn

from trainables.check import random_state
from trainables.contract import check_labels, read_labels, read_output_meaning

EXPORTED = ("model", "example_input")
"""The methods by which a class is exported."""
STATEFUL = (
    *(nn.Module, torch.Generator),
    *(np.random.Generator, np.random.RandomState, random.Random),
)
"""Types that `model()` or `example_input()` may change: they are called on copies."""


def check_outputs(trial: Any) -> None:
    """Raise TrainableError where the labels of a trial that was set up do not fit its outputs.

    The trial and the random state do not change: copies of its networks are run, on the CPU. A
    network that cannot be run yet, such as one that its first batch builds, is no error here; its
    export checks it.
    """
    labels = read_labels(trial)
    read_output_meaning(trial)
    if labels is None or not all(hasattr(type(trial), name) for name in EXPORTED):
        return
    outputs = _outputs(trial)
    # An output without the batch axis of two says nothing of classes.
    if isinstance(outputs, Tensor) and outputs.shape[:1] == (2,):
        check_labels(labels, outputs.shape)


def _outputs(trial: Any) -> Any:
    """Run the network on two examples; None where it cannot be run."""
    if hasattr(type(trial), "__del__") or _has_several_workers():
        return None  # the copy's end would be the trial's, or other workers would have to take part
    before = random_state.capture()
    try:
        copied = _copy(trial)
        network = copy.deepcopy(copied.model()).cpu().eval()
        example = copied.example_input().detach().cpu()
        with torch.inference_mode():
            return network(torch.cat([example, example])[:2])
    except Exception:
        return None
    finally:
        random_state.restore(before)


def _has_several_workers() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def _copy(trial: Any) -> Any:
    """Copy a trial's networks and generators, which go on sharing tensors; keep all else."""
    values = vars(trial)
    copies = copy.deepcopy({name: value for name, value in values.items() if _is_stateful(value)})
    copied = object.__new__(type(trial))
    vars(copied).update(values, **copies)
    return copied


def _is_stateful(value: Any) -> bool:
    """Whether a value is of the stateful types, or holds one of them."""
    if isinstance(value, Mapping):
        return any(map(_is_stateful, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_is_stateful, value))
    return isinstance(value, STATEFUL)
