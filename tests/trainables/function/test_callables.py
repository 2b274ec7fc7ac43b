"""Callables that can be training functions, and the ways in which they may report."""

import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ray import train, tune

from tests.support.counter import Counter
from tests.support.function_trial import trial
from trainables import as_trainable, check_resources, resolve
from trainables.check import check_trainable
from trainables.contract import OVER, TrainableError
from trainables.errors.advice import advise
from trainables.function.trainable import Function, name_of


def with_slope(slope: float, config: dict[str, Any]) -> Iterator[dict[str, float]]:
    for epoch in (1, 2):
        yield {"loss": slope * config["x"] / epoch}


class Slope:
    """An object that can be called as a function."""

    def __init__(self, slope: float) -> None:
        self.slope = slope

    def __call__(self, config: dict[str, Any]) -> Iterator[dict[str, float]]:
        return with_slope(self.slope, config)

    def method(self, config: dict[str, Any]) -> Iterator[dict[str, float]]:
        return self(config)


def with_data(config: dict[str, Any], slope: float) -> Iterator[dict[str, float]]:
    return with_slope(slope, config)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (functools.partial(with_slope, 2.0), "with_slope"),
        (functools.partial(functools.partial(with_slope), 2.0), "with_slope"),
        (functools.partial(with_data, slope=2.0), "with_data"),
        (Slope(2.0), "Slope"),
        (Slope(2.0).method, "method"),
    ],
)
def test_what_can_be_called_as_a_function_is_one(
    tmp_path: Path, function: Function, name: str
) -> None:
    _check_is_function(tmp_path, function, name)


def test_a_function_with_parameters_is_one(tmp_path: Path) -> None:
    # Not while tests are collected: a Ray that starts in between takes the parameters away.
    function = tune.with_parameters(with_data, slope=2.0)
    _check_is_function(tmp_path, function, "with_data")


def _check_is_function(tmp_path: Path, function: Function, name: str) -> None:
    assert name_of(function) == name
    assert as_trainable(function, name).__name__ == name
    with trial(function, tmp_path) as running:
        assert [running.train()["loss"] for _ in range(2)] == [1.6, 0.8]
        assert running.step() == OVER


def test_a_partial_of_a_file_is_found_and_keeps_its_promises(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import functools\n"
        "def train(slope, config):\n"
        "    yield {'loss': slope}\n"
        "half = functools.partial(train, 0.5)\n"
    )
    found = resolve("mine.py:half", tmp_path)
    assert found.__name__ == "train"
    check_trainable(found, {}, metric="loss")


WRAPPED = """
import functools
from ray import tune
from tests.support.parabola import *
from tests.support import parabola
from tests.support.counter import Counter
def with_step(config, step, scale=1.0):
    parabola.train(config)
class WithData(Counter):
    def setup(self, config, data):
        super().setup(config)
        self.data = data
half = functools.partial(with_step, step=0.5)
given = tune.with_parameters(with_step, step=0.5)
held = tune.with_parameters(WithData, data=[1, 2])
"""


@pytest.mark.parametrize(("name", "inner"), [("half", "with_step"), ("given", "with_step")])
def test_a_wrapped_function_of_a_file_is_exported_by_the_names_in_that_file(
    tmp_path: Path, name: str, inner: str
) -> None:
    (tmp_path / "mine.py").write_text(WRAPPED)
    found: Any = resolve(f"mine.py:{name}", tmp_path)
    assert found.__name__ == inner
    check_trainable(found, {"x": 0.5, "reports": 3}, metric="loss")
    assert (found.labels, hasattr(found, "model")) == (("far", "near"), True)


def test_a_file_with_half_of_what_an_export_needs_is_told_the_other(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "labels = [[0, 1]]  # of its data\n"
        "def train(config): return {'loss': 1.0}\n"
        "def example_input(): ...\n"
    )
    message = (
        r"^load_model\(\): is missing; export needs both load_model\(\) and example_input\(\)$"
    )
    with pytest.raises(TrainableError, match=message):
        check_trainable(resolve("mine.py:train", tmp_path), {}, metric="loss")


def test_a_class_with_parameters_is_one(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(WRAPPED)
    found: Any = resolve("mine.py:held", tmp_path)
    assert found(config={}).data == [1, 2]
    check_trainable(found, {}, metric="loss")


@pytest.mark.parametrize("found", [functools.partial(with_slope), with_data, 3, "train", min])
def test_what_takes_no_configuration_is_refused(found: Any) -> None:
    with pytest.raises(TrainableError, match=r"^trainable: 'mine' (must take one argument|is nei)"):
        as_trainable(found, "mine")


class Greedy(Counter):
    """Asks for two CPUs by itself."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        return tune.PlacementGroupFactory([{"CPU": 2}])


def asks_for_two(config: dict[str, Any]) -> None: ...


@pytest.mark.parametrize(
    "found",
    [
        tune.with_resources(asks_for_two, {"cpu": 2}),
        tune.with_resources(functools.partial(with_slope, 2.0), {"cpu": 2}),
        tune.with_parameters(tune.with_resources(with_data, {"cpu": 2}), slope=1.0),
        tune.with_resources(Counter, {"cpu": 2}),
        Greedy,
    ],
)
def test_resources_that_a_trainable_asks_for_are_not_passed_over(found: Any) -> None:
    message = r"^trainable: 'mine\.py:train' asks for resources .*: \[resources\] cpus_per_trial"
    with pytest.raises(TrainableError, match=message):
        check_resources(as_trainable(found, "mine"), "mine.py:train")


def test_one_that_asks_for_none_has_those_of_the_experiment() -> None:
    check_resources(as_trainable(Slope(1.0), "mine"), "mine")
    check_resources(as_trainable(Counter, "mine"), "mine")


def _reports(*arguments: Any, **named: Any) -> Function:
    return lambda config: tune.report(*arguments, **named)


MINE: dict[str, Any] = {}
exec("def report(loss): ...", MINE)  # called as Ray's own is


def _right(metric: str) -> str:
    return re.escape(
        f'by its name, a checkpoint: tune.report({{"{metric}": …}}, checkpoint=tune.Ch'
    )


def _of_train(name: str) -> str:
    return rf"^ray\.train\.{name}\(\) is for .*; with one worker call ray\.tune\.{name}\(\)$"


@pytest.mark.parametrize(
    ("function", "kind", "message"),
    [
        (_reports(cost=1.0), TrainableError, _right("cost")),
        (_reports(), TrainableError, _right("loss")),
        (_reports(0.5), TrainableError, _right("loss")),
        (_reports({"loss": 1.0}, "here"), TrainableError, _right("loss")),
        (_reports({"loss": 1.0}, checkpoint="here"), TrainableError, _right("loss")),
        (_reports({"loss": torch.ones(())}), TrainableError, r"is a tensor; report a number, such"),
        (lambda config: train.report({"loss": 1.0}), TrainableError, _of_train("report")),
        (lambda config: train.get_context(), TrainableError, _of_train("get_context")),
        # Not Ray's own.
        (
            lambda config: MINE["report"](cost=1),
            TypeError,
            r"^report\(\) got an unexpected keyword",
        ),
    ],
)
def test_a_report_in_another_form_is_told_the_right_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    function: Callable[..., Any],
    kind: type[Exception],
    message: str,
) -> None:
    monkeypatch.setenv("RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS", "0")  # as in a trial
    with trial(function, tmp_path) as running, pytest.raises(kind, match=message):
        running.step()


def _missing(act: Callable[[], Any]) -> OSError:
    try:
        act()
    except OSError as error:
        return error
    raise AssertionError("it was found")


def test_a_file_that_is_not_found_by_a_relative_path_is_told_why(tmp_path: Path) -> None:
    expected = "; trials run in a folder of their own; use Path(__file__).parent"
    assert advise(_missing(Path("data/none.csv").read_text)) == expected
    assert advise(_missing(lambda: open("none.csv"))) == expected  # noqa: PTH123, SIM115
    (tmp_path / "file").touch()
    assert advise(_missing((tmp_path / "file/none").read_text)) == ""
    assert advise(_missing((tmp_path / "none").read_text)) == ""
    assert advise(FileNotFoundError(2, "none", "s3://bucket/none")) == ""
    assert advise(FileNotFoundError("no data")) == ""
    assert advise(ValueError("none")) == ""


def test_a_program_that_is_not_found_is_no_file_of_the_trial() -> None:
    import subprocess

    assert advise(_missing(lambda: subprocess.run(["no-such-program"], check=True))) == ""
