"""Reports of metrics: numbers are kept, the rest is left out, a bad objective is refused."""

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from trainables.contract import OVER, TrainableError
from trainables.report import CheckedReport, check_report


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
    found = check_report({"loss": 0.5, "other": value}, "loss", epoch=1)
    assert found == CheckedReport({"loss": 0.5, "other": kept}, {}, is_last=False)
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
    found = check_report({"loss": 0.5, "other": value}, "loss", epoch=1)
    assert found == CheckedReport({"loss": 0.5}, {"other": kind}, is_last=False)


def test_nested_metrics_are_named_as_ray_names_them() -> None:
    nested = {"val": {"acc": 1, "classes": {0: 0.5, "all": [1]}}, "done": False}
    assert check_report(nested, "val/acc", epoch=1) == CheckedReport(
        {"val/acc": 1, "val/classes/0": 0.5}, {"val/classes/all": "a list"}, is_last=False
    )


@pytest.mark.parametrize("done", [True, 1, np.bool_(True), torch.tensor(True)])
def test_done_completes_the_trial_with_what_is_reported_beside_it(done: Any) -> None:
    last = check_report({"loss": 0.5, "done": done, "should_checkpoint": True}, "loss", epoch=3)
    assert last == CheckedReport({"loss": 0.5}, {}, is_last=True)
    assert check_report({"done": done, "should_checkpoint": True}, "loss", epoch=3).metrics == {}
    assert check_report(OVER, "loss", epoch=3) == CheckedReport({}, {}, is_last=True)


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
        check_report(metrics, "loss", epoch=3)
