"""Labels and meanings that a trainable declares."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from trainables.contract import TrainableError, check_labels, read_labels, read_output_meaning


@pytest.mark.parametrize(
    "labels",
    [("0", "1", "2"), [0, 1, 2], range(3), np.arange(3), torch.arange(3), tuple(np.arange(3))],
)
def test_labels_are_texts_whatever_numbers_they_were(labels: Any) -> None:
    assert read_labels(SimpleNamespace(labels=labels)) == ("0", "1", "2")


def test_a_class_need_not_have_labels() -> None:
    assert read_labels(SimpleNamespace()) is None
    assert read_labels(SimpleNamespace(labels=None)) is None


@pytest.mark.parametrize("labels", ["cat", {"a", "b"}, {0: "a"}, 3, np.zeros((2, 2))])
def test_labels_without_an_order_are_refused(labels: Any) -> None:
    message = r"^labels: must be a tuple with a name for each output, in their order; got "
    with pytest.raises(TrainableError, match=message):
        read_labels(SimpleNamespace(labels=labels))


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

    assert read_output_meaning(Priced) == "values"
    assert read_output_meaning(object()) is None


def test_an_unknown_meaning_of_outputs_is_refused_with_the_known_ones() -> None:
    class Wrong:
        output_meaning = "softmax"

    message = (
        "output_meaning: must be one of logits, log_probabilities, probabilities, sigmoids, "
        "values; got 'softmax'"
    )
    with pytest.raises(TrainableError, match=f"^{message}$"):
        read_output_meaning(Wrong())
