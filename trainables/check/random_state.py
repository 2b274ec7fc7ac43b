"""The random state of a process: that of PyTorch, Python and NumPy."""

import random
from typing import Any

import numpy as np
import torch

RandomState = dict[str, Any]
"""Random state of all three libraries, and of CUDA where it is in use."""


def capture() -> RandomState:
    """Capture the random state of this process; `torch.load(weights_only=True)` can read it."""
    kind, key, *rest = np.random.get_state()
    found: RandomState = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(key).astype(np.int64)), *rest),
    }
    if torch.cuda.is_initialized():
        found["cuda"] = torch.cuda.get_rng_state()
    return found


def restore(state: RandomState) -> None:
    """Restore a captured random state."""
    torch.set_rng_state(state["torch"])
    random.setstate(state["python"])
    kind, key, *rest = state["numpy"]
    np.random.set_state((kind, key.numpy().astype(np.uint32), *rest))
    if "cuda" in state and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(state["cuda"])


def seed_from(*entropy: int) -> None:
    """Seed all libraries from these integers; other integers give independent random numbers."""
    first, second, third = map(int, np.random.SeedSequence(entropy).generate_state(3))
    torch.manual_seed(first)
    random.seed(second)
    np.random.seed(third)
