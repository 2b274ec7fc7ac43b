"""The built-in trainable, its steps called directly."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.small_mnist import SmallMnist
from trainables.data import Digits
from trainables.mnist import MnistTrainable, Net

CONFIG = {"lr": 0.05, "batch_size": 32, "momentum": 0.5, "seed": 0}


@pytest.fixture(scope="session")
def digits() -> Mapping[str, Digits]:
    return SmallMnist.shared(None, False)


def built(digits: Mapping[str, Digits], **config: Any) -> MnistTrainable:
    class Built(SmallMnist):
        def setup(self, config: dict[str, Any]) -> None:  # type: ignore[override]
            super().setup(config, **digits)

    return Built(config={**CONFIG, **config})


def curve(trial: MnistTrainable, epochs: int) -> list[dict[str, Any]]:
    """Metrics of each epoch, but for its time."""
    return [
        {key: value for key, value in trial.step().items() if key != "seconds"}
        for _ in range(epochs)
    ]


def test_the_network_has_the_parameters_of_the_example_it_follows() -> None:
    assert sum(parameter.numel() for parameter in Net().parameters()) == 21_840


def test_two_epochs_beat_chance_by_far(digits: Mapping[str, Digits]) -> None:
    last = curve(built(digits), 2)[-1]
    assert last["test_accuracy"] > 0.6
    assert last["average_test_loss"] < 1.5
    assert set(last) == {"average_test_loss", "test_accuracy", "train_loss", "epoch"}


def test_saved_and_loaded_half_way_gives_the_same_bits(
    digits: Mapping[str, Digits], tmp_path: Path
) -> None:
    straight = built(digits)
    whole = curve(straight, 4)
    first = built(digits)
    half = curve(first, 2)
    first.save_checkpoint(str(tmp_path))
    second = built(digits, seed=7)
    second.load_checkpoint(str(tmp_path))
    assert half + curve(second, 2) == whole
    for ours, theirs in zip(second.net.parameters(), straight.net.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_reset_trial_is_as_good_as_new(digits: Mapping[str, Digits]) -> None:
    trial = built(digits, lr=0.01)
    curve(trial, 1)
    trial.reset_config({**CONFIG})
    assert curve(trial, 1) == curve(built(digits), 1)


def test_seeds_and_configurations_make_a_difference(digits: Mapping[str, Digits]) -> None:
    curves = [curve(built(digits, **change), 1) for change in ({}, {"seed": 1}, {"batch_size": 64})]
    assert curves[0] != curves[1] != curves[2] != curves[0]


def test_the_result_is_that_of_the_plain_loop(digits: Mapping[str, Digits]) -> None:
    trial = built(digits)
    reported = trial.step()
    train, test = digits["train"], digits["test"]
    torch.manual_seed(0)
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.5)
    images = (torch.tensor(train.images)[:, None] / 255 - 0.1307) / 0.3081
    for batch in torch.randperm(len(images)).split(32):
        optimizer.zero_grad()
        outputs = net(images[batch])
        torch.nn.functional.nll_loss(outputs, torch.tensor(train.labels).long()[batch]).backward()
        optimizer.step()
    net.eval()
    pixels = (torch.tensor(test.images)[:, None] / 255 - 0.1307) / 0.3081
    with torch.no_grad():
        loss = torch.nn.functional.nll_loss(net(pixels), torch.tensor(test.labels).long())
    assert reported["average_test_loss"] == pytest.approx(float(loss), abs=1e-4)


def test_every_image_counts_where_batches_do_not_divide_them(digits: Mapping[str, Digits]) -> None:
    trial = built(digits, batch_size=1999)
    before = [parameter.clone() for parameter in trial.net.parameters()]
    trial.step()
    changed = zip(before, trial.net.parameters(), strict=True)
    assert all(not torch.equal(old, new) for old, new in changed)
    assert trial.optimizer.param_groups[0]["momentum"] == 0.5


def test_the_shared_pixels_are_never_written_to(digits: Mapping[str, Digits]) -> None:
    before = digits["train"].images.copy()
    assert not digits["train"].images.flags.writeable
    curve(built(digits), 1)
    assert np.array_equal(before, digits["train"].images)


def test_evaluating_its_own_network_gives_what_the_step_reported(
    digits: Mapping[str, Digits],
) -> None:
    trial = built(digits)
    reported = trial.step()

    def predict(pixels: Any) -> Any:
        with torch.inference_mode():
            scaled = (torch.from_numpy(pixels) / 255 - 0.1307) / 0.3081
            return trial.model().eval()(scaled).numpy()

    found = trial.evaluate(predict)
    assert found["average_test_loss"] == pytest.approx(reported["average_test_loss"], abs=1e-6)
    assert found["test_accuracy"] == reported["test_accuracy"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"batch_size": 0}, "batch_size: needs a whole number of at least 1, got 0"),
        ({"batch_size": 1.5}, "batch_size: needs a whole number of at least 1, got 1.5"),
        ({"lr": 0.0}, "lr: needs a number above 0, got 0.0"),
        ({"momentum": 1}, "momentum: needs a number from 0 to below 1, got 1"),
    ],
)
def test_values_that_cannot_be_trained_with_are_named(value: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MnistTrainable.check_config({**CONFIG, **value})
