"""The random numbers of a process: PyTorch's, Python's and NumPy's."""

import random
from typing import Any

import numpy as np
import torch

Random = dict[str, Any]
"""A state of all three."""


def state() -> Random:
    """This process's, of what `torch.load` loads without running code."""
    kind, key, *rest = np.random.get_state()
    found: Random = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(key).astype(np.int64)), *rest),
    }
    if torch.cuda.is_initialized():
        found["cuda"] = torch.cuda.get_rng_state()
    return found


def go_on_from(state: Random) -> None:
    """Go on with the random numbers of that state."""
    torch.set_rng_state(state["torch"])
    random.setstate(state["python"])
    kind, key, *rest = state["numpy"]
    np.random.set_state((kind, key.numpy().astype(np.uint32), *rest))
    if "cuda" in state and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(state["cuda"])


def part(*entropy: int) -> None:
    """Begin anew with random numbers that are like no others' with another entropy."""
    first, second, third = map(int, np.random.SeedSequence(entropy).generate_state(3))
    torch.manual_seed(first)
    random.seed(second)
    np.random.seed(third)
