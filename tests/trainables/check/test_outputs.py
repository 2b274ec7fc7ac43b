"""Labels and outputs that do not fit are found before training, which goes on as if unasked."""

import random
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainables.check import random_state
from trainables.check.outputs import check_outputs
from trainables.contract import TrainableError


class Subject:
    """Three classes; its habits are those that would harm what is trained."""

    labels: Any = ("a", "b")

    def __init__(self) -> None:
        self.nets: dict[str, nn.Module] = {"net": nn.Sequential(nn.Linear(4, 3), nn.Dropout())}
        self.net = self.nets["net"]
        self.generator = torch.Generator()
        self.other = np.random.default_rng(0)

    def model(self) -> nn.Module:
        self.net.eval()
        for parameter in self.nets["net"].parameters():
            parameter.requires_grad_(False).zero_()
        self.other.random()
        random.random()
        return self.net

    def example_input(self) -> Tensor:
        return torch.rand(1, 4, generator=self.generator) + torch.rand(1, 4)


def test_labels_that_do_not_fit_are_told() -> None:
    with pytest.raises(TrainableError, match=r"^labels: 2 labels for 3 outputs; name each"):
        check_outputs(Subject())


def test_labels_that_fit_are_not() -> None:
    check_outputs(type("Right", (Subject,), {"labels": (0, 1, 2)})())


@pytest.mark.parametrize(
    ("says", "message"),
    [({"labels": {"a", "b", "c"}}, "^labels: must be"), ({"output_meaning": "x"}, "^output_m")],
)
def test_what_cannot_be_said_of_outputs_is_told(says: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainableError, match=message):
        check_outputs(type("Says", (Subject,), says)())


def _state(subject: Subject) -> Iterator[Any]:
    yield [(name, module.training) for name, module in subject.net.named_modules()]
    yield [(parameter.requires_grad, parameter.tolist()) for parameter in subject.net.parameters()]
    yield subject.generator.get_state().tolist(), subject.other.bit_generator.state
    now = random_state.capture()
    yield now["torch"].tolist(), now["python"], now["numpy"][1].tolist(), now["numpy"][2:]


def test_the_trial_is_left_as_it_was() -> None:
    subject = type("Right", (Subject,), {"labels": list("abc")})()
    before = list(_state(subject))
    check_outputs(subject)
    assert list(_state(subject)) == before
    assert subject.nets["net"] is subject.net


class Lost(nn.Module):
    """Loses the batch axis."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.sum()


class Unready(Subject):
    """Ends what it shares when it goes."""

    def __del__(self) -> None:
        self.ended = True


def _raising() -> nn.Module:
    raise RuntimeError("not before the first batch")


@pytest.mark.parametrize(
    "network",
    [
        _raising,
        lambda: nn.Linear(9, 3),
        Lost,
        lambda: "net",
        lambda: nn.LSTM(4, 3),
    ],
)
def test_a_network_that_cannot_be_asked_here_is_no_error(network: Any) -> None:
    check_outputs(type("Odd", (Subject,), {"model": lambda self: network()})())


def test_what_has_no_copy_is_not_asked() -> None:
    check_outputs(Unready())
    check_outputs(type("Inputs", (Subject,), {"example_input": lambda self: (1, 2)})())


def test_one_without_labels_or_a_network_has_nothing_to_fit() -> None:
    check_outputs(SimpleNamespace(labels=("a",)))
    check_outputs(type("Bare", (Subject,), {"labels": None})())
