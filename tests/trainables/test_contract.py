"""What a trainable says of itself, as numbers and names that the rest can rely on."""

import math
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from trainables.contract import (
    OVER,
    Reported,
    TrainableError,
    check_labels,
    checked,
    labels_of,
    meaning_of,
)


@pytest.mark.parametrize(
    "labels",
    [("0", "1", "2"), [0, 1, 2], range(3), np.arange(3), torch.arange(3), tuple(np.arange(3))],
)
def test_labels_are_texts_whatever_numbers_they_were(labels: Any) -> None:
    assert labels_of(SimpleNamespace(labels=labels)) == ("0", "1", "2")


def test_a_class_need_not_have_labels() -> None:
    assert labels_of(SimpleNamespace()) is None
    assert labels_of(SimpleNamespace(labels=None)) is None


@pytest.mark.parametrize("labels", ["cat", {"a", "b"}, {0: "a"}, 3, np.zeros((2, 2))])
def test_labels_without_an_order_are_refused(labels: Any) -> None:
    message = r"^labels: must be a tuple with a name for each output, in their order; got "
    with pytest.raises(TrainableError, match=message):
        labels_of(SimpleNamespace(labels=labels))


@pytest.mark.parametrize(
    ("count", "shape"),
    [
        (3, (1, 3)),  # a class each
        (2, (4, 1)),  # one output: yes or no
        (2, (4,)),
        (1, (4, 1)),
        (3, (1, 3, 8, 8)),  # a map of classes
        (5, (1, 7, 5)),  # a class for each place
        (2, (1, 1, 8, 8)),  # a mask
    ],
)
def test_labels_fit_the_axis_of_the_classes(count: int, shape: Sequence[int]) -> None:
    check_labels(["label"] * count, shape)


@pytest.mark.parametrize(
    ("count", "shape", "message"),
    [
        (2, (1, 3), "labels: 2 labels for 3 outputs; name each output once"),
        (1, (1, 3), "labels: 1 label for 3 outputs; name each output once"),
        (3, (4, 1), "labels: 3 labels for 1 output; name each output once"),
        (3, (4,), "labels: 3 labels for 1 output; name each output once"),
        (0, (4, 2), "labels: 0 labels for 2 outputs; name each output once"),
        (4, (1, 3, 8, 9), r"labels: 4 labels for outputs of shape \(N, 3, 8, 9\); name each .*"),
    ],
)
def test_labels_that_fit_no_axis_are_refused(
    count: int, shape: Sequence[int], message: str
) -> None:
    with pytest.raises(TrainableError, match=f"^{message}$"):
        check_labels(["label"] * count, shape)


def test_a_class_says_what_its_outputs_are() -> None:
    class Priced:
        output_meaning = "values"

    assert meaning_of(Priced) == "values"
    assert meaning_of(object()) is None


def test_an_unknown_meaning_of_outputs_is_refused_with_the_known_ones() -> None:
    class Wrong:
        output_meaning = "softmax"

    message = (
        "output_meaning: must be one of logits, log_probabilities, probabilities, sigmoids, "
        "values; got 'softmax'"
    )
    with pytest.raises(TrainableError, match=f"^{message}$"):
        meaning_of(Wrong())


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (1, 1),
        (True, 1),
        (np.bool_(False), 0),
        (np.float32(0.25), 0.25),
        (np.array(3), 3),
        (np.array([0.5]), 0.5),
        (torch.tensor(0.5), 0.5),
        (torch.tensor([True]), 1),
        (Decimal("0.5"), 0.5),
        (Fraction(1, 4), 0.25),
        (math.nan, None),
        (-math.inf, None),
        (10**400, None),
    ],
)
def test_a_number_is_kept_whatever_kind_it_is_of(value: Any, kept: Any) -> None:
    found = checked({"loss": 0.5, "other": value}, "loss", epoch=1)
    assert found == Reported({"loss": 0.5, "other": kept}, {}, is_last=False)
    assert type(found.metrics["other"]) in (int, float, type(None))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("warm", "a text"),
        (None, "None"),
        (b"warm", "bytes"),
        ([0.4, 0.6], "a list"),
        (((1, 2), (3, 4)), "a list"),
        (np.zeros((2, 2)), "an array of shape (2, 2)"),
        (torch.zeros(3), "an array of shape (3,)"),
        (1j, "a complex"),
        (np.str_("warm"), "a text"),
    ],
)
def test_what_is_no_number_is_left_out_and_named(value: Any, kind: str) -> None:
    found = checked({"loss": 0.5, "other": value}, "loss", epoch=1)
    assert found == Reported({"loss": 0.5}, {"other": kind}, is_last=False)


def test_nested_metrics_are_named_as_ray_names_them() -> None:
    nested = {"val": {"acc": 1, "classes": {0: 0.5, "all": [1]}}, "done": False}
    assert checked(nested, "val/acc", epoch=1) == Reported(
        {"val/acc": 1, "val/classes/0": 0.5}, {"val/classes/all": "a list"}, is_last=False
    )


@pytest.mark.parametrize("done", [True, 1, np.bool_(True), torch.tensor(True)])
def test_done_completes_the_trial_with_what_is_reported_beside_it(done: Any) -> None:
    last = checked({"loss": 0.5, "done": done, "should_checkpoint": True}, "loss", epoch=3)
    assert last == Reported({"loss": 0.5}, {}, is_last=True)
    assert checked({"done": done, "should_checkpoint": True}, "loss", epoch=3).metrics == {}
    assert checked(OVER, "loss", epoch=3) == Reported({}, {}, is_last=True)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ([], r"step\(\) must return a dictionary of metrics, got \[\]"),
        ({}, r"metric: step\(\) reported no 'loss'; it reported nothing"),
        ({"done": False}, r"metric: step\(\) reported no 'loss'; it reported nothing"),
        ({"lost": 1}, r"metric: step\(\) reported no 'loss'; it reported lost"),
        ({"loss": {"a": 1}}, r"metric: step\(\) reported no 'loss'; it reported loss/a"),
        ({"loss": "low"}, r"step\(\) reported 'loss' as 'low'; the objective must be a number"),
        ({"loss": None}, r"step\(\) reported 'loss' as None; the objective must be a number"),
        ({"loss": math.inf}, "loss became inf in epoch 3"),
        ({"loss": torch.tensor(math.nan)}, "loss became nan in epoch 3"),
    ],
)
def test_an_objective_that_cannot_be_used_is_named(metrics: Any, message: str) -> None:
    with pytest.raises(TrainableError, match=f"^{message}$"):
        checked(metrics, "loss", epoch=3)
