"""A class is put through its promises, and the one that it breaks is named."""

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from ray import tune
from torch import Tensor, nn

from tests.support.small_mnist import SmallMnist
from tests.support.sound import CONFIG, STATE, Sound
from trainables.check import check_trainable
from trainables.contract import TrainableError


def test_a_class_that_keeps_its_promises_passes() -> None:
    check_trainable(Sound, CONFIG, metric="loss")
    assert not ray.is_initialized()


def test_the_built_in_one_keeps_its_promises() -> None:
    config = {"lr": 0.05, "batch_size": 32, "momentum": 0.5}
    check_trainable(SmallMnist, config, metric="average_test_loss")


class Least(tune.Trainable):
    """No more than what can be searched; its state is a dictionary, as Ray allows."""

    def setup(self, config: dict[str, Any]) -> None:
        self.epochs = 0

    def step(self) -> dict[str, Any]:
        self.epochs += 1
        return {"loss": 1 / self.epochs, "epoch": self.iteration}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {"epochs": self.epochs}

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.epochs = checkpoint["epochs"]


def test_what_is_optional_may_be_missing() -> None:
    check_trainable(Least, {}, metric="loss")


class Untidy(Sound):
    """Changes what it can of its process."""

    def step(self) -> dict[str, Any]:
        torch.set_num_threads(3)
        np.random.seed(0)
        os.chdir("/")
        os.environ["UNTIDY"] = "yes"
        return super().step()


def test_the_process_is_left_as_it_was() -> None:
    def process() -> tuple[Any, ...]:
        numpy_state = np.random.get_state(legacy=False)["state"]["key"].tolist()
        states = random.getstate(), numpy_state, torch.get_rng_state().tolist()
        return *states, torch.get_num_threads(), Path.cwd(), dict(os.environ)

    before = process()
    check_trainable(Untidy, CONFIG, metric="loss")
    assert process() == before


def raising(*arguments: Any, **shared: Any) -> Any:
    raise KeyError("width")


def asserting(config: dict[str, Any]) -> None:
    assert config["lr"] > 0, "lr is too low"


def without_random_state(self: Any, checkpoint: Any) -> None:
    weights, optimizer, _ = torch.load(Path(checkpoint, STATE), weights_only=True)
    self.net.load_state_dict(weights)
    self.optimizer.load_state_dict(optimizer)


def without_momentum(self: Any, checkpoint: Any) -> None:
    weights, _, rng = torch.load(Path(checkpoint, STATE), weights_only=True)
    self.net.load_state_dict(weights)
    torch.set_rng_state(rng)


def seeded_by_nothing(self: Any, new_config: dict[str, Any]) -> bool:
    self.net = nn.Linear(3, 2)
    self.optimizer = torch.optim.SGD(self.net.parameters(), new_config["lr"])
    return True


def half_reset(self: Any, new_config: dict[str, Any]) -> bool:
    if hasattr(self, "net"):
        return True
    return Sound.reset_config(self, new_config)


def refusing_reset(self: Any, new_config: dict[str, Any]) -> bool:
    done = hasattr(self, "net")
    Sound.reset_config(self, new_config)
    return not done


class Summed(nn.Module):
    """Gives one output for a whole batch."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.sum(dim=0)


class Unbatched(nn.Module):
    """Takes one example alone."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.reshape(1, 3)[:, :2]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"setup": raising}, r"setup\(\): raised KeyError: 'width'"),
        ({"shared": staticmethod(raising)}, r"shared\(\): raised KeyError: 'width'"),
        ({"shared": staticmethod(lambda *_: [1])}, r"shared\(\): must give values by name, gave"),
        ({"check_config": staticmethod(raising)}, r"check_config\(\): raised KeyError: 'width'"),
        (
            {"check_config": staticmethod(asserting)},
            r"check_config\(\): must refuse by ValueError; lr = 0.0 raised AssertionError: lr is",
        ),
        ({"step": raising}, r"step\(\): raised KeyError: 'width'"),
        ({"step": lambda self: 1.0}, r"step\(\) must return a dictionary of metrics, got 1.0"),
        ({"step": lambda self: {"los": 1}}, r"step\(\) reported no 'loss'; it reported los"),
        ({"step": lambda self: {"loss": np.inf}}, r"loss became inf in epoch 1"),
        (
            {"reset_config": seeded_by_nothing},
            r"step\(\): two fresh trials of one configuration .*",
        ),
        ({"save_checkpoint": raising}, r"save_checkpoint\(\): raised KeyError: 'width'"),
        ({"save_checkpoint": lambda *_: None}, r"save_checkpoint\(\): wrote nothing into the fol"),
        ({"load_checkpoint": raising}, r"load_checkpoint\(\): raised KeyError: 'width'"),
        ({"load_checkpoint": lambda *_: None}, r"load_checkpoint\(\): the trial that loaded goes"),
        ({"load_checkpoint": without_random_state}, r"load_checkpoint\(\): .*: loss .* for 0\.\d+"),
        ({"load_checkpoint": without_momentum}, r"load_checkpoint\(\): .*: loss .* for 0\.\d+"),
        ({"reset_config": half_reset}, r"reset_config\(\): a trial that was reset differs from a"),
        ({"reset_config": refusing_reset}, r"reset_config\(\): must give True once the trial is"),
        ({"model": raising}, r"model\(\): raised KeyError: 'width'"),
        ({"model": lambda self: "net"}, r"model\(\): must give an nn\.Module, gave str"),
        (
            {"model": lambda self: Summed()},
            r"model\(\): must give one output per example, .* \(3,\) f",
        ),
        (
            {"model": lambda self: Unbatched()},
            r"model\(\) with an input of shape \(2, 3\): raised R",
        ),
        ({"example_input": raising}, r"example_input\(\): raised KeyError: 'width'"),
        (
            {"example_input": lambda self: 1},
            r"example_input\(\): must give a tensor of examples, g",
        ),
        ({"example_input": lambda self: torch.ones(())}, r"example_input\(\): .* gave shape \(\)"),
        ({"labels": ("low",)}, r"labels: 1 label for 2 outputs; name each output once"),
        ({"evaluate": raising}, r"evaluate\(\): raised KeyError: 'width'"),
        (
            {"evaluate": lambda *_: {"loss": 7.0}},
            r"evaluate\(\): gives loss 7\.0, step\(\) reported",
        ),
    ],
)
def test_the_broken_promise_is_named(broken: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainableError, match=f"^(metric: )?{message}"):
        check_trainable(type("Broken", (Sound,), broken), CONFIG, metric="loss")


class Exporting(Least):
    """Has one half of what export needs."""

    def model(self) -> nn.Module:
        return nn.Linear(3, 2)


def test_half_of_what_export_needs_is_not_enough() -> None:
    message = r"^example_input\(\): is missing; export needs both model\(\) and example_input\(\)$"
    with pytest.raises(TrainableError, match=message):
        check_trainable(Exporting, {}, metric="loss")


@pytest.mark.parametrize("found", [print, dict, tune.Trainable])
def test_what_is_no_trainable_is_refused(found: Any) -> None:
    with pytest.raises(TrainableError, match=f"^trainable: '{found.__name__}'"):
        check_trainable(found, {}, metric="loss")
