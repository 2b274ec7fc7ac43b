"""What a class says of its outputs, held against what its network gives before it is trained."""

import copy
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn

from trainables.contract import check_labels, labels_of, meaning_of
from trainables.data_parallel import random_state

EXPORTED = ("model", "example_input")
"""The methods by which a class is exported."""
STATEFUL = (
    *(nn.Module, torch.Generator),
    *(np.random.Generator, np.random.RandomState, random.Random),
)
"""What `model()` or `example_input()` may change of a trial: a copy of it is given to them."""


def check_outputs(trial: Any) -> None:
    """Raise TrainableError where the labels of a trial that was set up do not fit its outputs.

    The trial is as it was afterwards: copies of its networks are tried, on the CPU, and random
    numbers go on as they would have. A network that cannot be tried here, such as one that is
    built by its first batch, is no error: its export tells.
    """
    labels = labels_of(trial)
    meaning_of(trial)
    if labels is None or not all(hasattr(type(trial), name) for name in EXPORTED):
        return
    outputs = _outputs(trial)
    # One that has lost the batch axis of two says nothing of its classes.
    if isinstance(outputs, Tensor) and outputs.shape[:1] == (2,):
        check_labels(labels, outputs.shape)


def _outputs(trial: Any) -> Any:
    """What the network gives for two examples; None where it cannot be asked."""
    if hasattr(type(trial), "__del__") or _has_several_workers():
        return None  # the copy's end would be the trial's, or others would have to take part
    before = random_state.capture()
    try:
        twin = _twin(trial)
        network = copy.deepcopy(twin.model()).cpu().eval()
        example = twin.example_input().detach().cpu()
        with torch.inference_mode():
            return network(torch.cat([example, example])[:2])
    except Exception:
        return None
    finally:
        random_state.restore(before)


def _has_several_workers() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def _twin(trial: Any) -> Any:
    """The trial with copies of its networks and generators, which share what they shared."""
    values = vars(trial)
    copies = copy.deepcopy({name: value for name, value in values.items() if _is_stateful(value)})
    twin = object.__new__(type(trial))
    vars(twin).update(values, **copies)
    return twin


def _is_stateful(value: Any) -> bool:
    """Whether that is changed by whoever asks for a network, itself or what it holds."""
    if isinstance(value, Mapping):
        return any(map(_is_stateful, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_is_stateful, value))
    return isinstance(value, STATEFUL)
