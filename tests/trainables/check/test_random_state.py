"""Random state of a process: captured, restored, and seeded apart."""

import io
import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from trainables.check import random_state

Numbers = tuple[float, float, float]


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Leaves this process its random numbers."""
    before = random_state.capture()
    yield
    random_state.restore(before)


def drawn() -> Numbers:
    return float(torch.rand(())), random.random(), float(np.random.random())


def test_random_numbers_go_on_from_a_state_that_was_saved_without_code() -> None:
    file = io.BytesIO()
    torch.save(random_state.capture(), file)
    expected = [drawn() for _ in range(3)]
    random_state.seed_from(5)
    file.seek(0)
    random_state.restore(torch.load(file, weights_only=True))
    assert [drawn() for _ in range(3)] == expected


def test_each_entropy_has_numbers_of_its_own_and_always_the_same() -> None:
    found = []
    for entropy in ((0, 1), (0, 2), (1, 1), (0, 1)):
        random_state.seed_from(*entropy)
        found.append(drawn())
    assert found[0] == found[3]
    assert all(len(set(numbers)) == 3 for numbers in zip(*found[:3], strict=True))
