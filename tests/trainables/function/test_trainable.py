"""A training function as a trainable: stepped, ended early, gone on with and searched."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from app import tune as command
from tests.support import parabola
from tests.support.function_trial import CONFIG, trial
from trainables.check import check_trainable
from trainables.contract import OVER, TrainableError
from trainables.function.trainable import Function


def test_each_report_is_a_step_and_the_return_is_the_end(tmp_path: Path) -> None:
    with trial(parabola.train, tmp_path) as running:
        losses = [running.train()["loss"] for _ in range(3)]
        assert losses == [0.25 + 1, 0.25 + 0.5, 0.25 + 1 / 3]
        assert running.step() == OVER


def test_what_is_ended_in_a_report_may_tidy_up(tmp_path: Path) -> None:
    tidied = []

    def train(config: dict[str, Any]) -> None:
        try:
            tune.report({"loss": 1.0})
            tidied.append("went on")
        finally:
            tune.report({"loss": 2.0})
            tidied.append("to the end")

    with trial(train, tmp_path) as running:
        running.step()
    assert tidied == ["to the end"]


def test_a_function_goes_on_from_the_checkpoint_that_it_reported_last(tmp_path: Path) -> None:
    epochs_begun: list[int] = []

    def train(config: dict[str, Any]) -> None:
        kept = tune.get_checkpoint()
        begin = 0 if kept is None else int(Path(kept.path, "epoch").read_text())
        for epoch in range(begin + 1, 5):
            epochs_begun.append(epoch)
            folder = tmp_path / f"mine-{epoch}"
            folder.mkdir(exist_ok=True)
            (folder / "epoch").write_text(str(epoch))
            seldom = tune.Checkpoint.from_directory(str(folder)) if epoch % 2 == 0 else None
            tune.report({"loss": 1 / epoch}, checkpoint=seldom)

    with trial(train, tmp_path) as running:
        for _ in range(3):
            running.train()
        saved = running.save(str(tmp_path / "saved"))
    with trial(train, tmp_path) as resumed:
        resumed.restore(saved)
        assert resumed.train()["loss"] == 1 / 3
        assert resumed.iteration == 3
    assert epochs_begun == [1, 2, 3, 3]


def test_one_without_checkpoints_begins_again(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> Iterator[dict[str, float]]:
        for epoch in (1, 2, 3):
            yield {"loss": float(epoch)}

    with trial(train, tmp_path) as running:
        running.train()
        saved = running.save(str(tmp_path / "saved"))
    with trial(train, tmp_path) as resumed:
        resumed.restore(saved)
        assert (resumed.train()["loss"], resumed.iteration) == (1.0, 1)


def test_what_a_function_returns_is_its_last_report(tmp_path: Path) -> None:
    with trial(lambda config: {"loss": config["x"]}, tmp_path) as running:
        assert running.train()["loss"] == 0.8
        assert running.step() == OVER


def test_a_process_is_taken_over_by_the_next_trial_as_if_it_were_new(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        while True:
            tune.report({"loss": config["x"] + random.random()})

    with trial(train, tmp_path) as running:
        first = running.step()
        running.step()
        assert running.reset_config({**CONFIG, "x": 0.8})
        running._iteration = 0
        assert running.step() == first


def _exits(config: dict[str, Any]) -> None:
    raise SystemExit(3)


def _raises(config: dict[str, Any]) -> None:
    raise ZeroDivisionError("by hand")


@pytest.mark.parametrize(
    ("function", "kind", "message"),
    [
        (_exits, TrainableError, r"^the function called sys\.exit\(3\)$"),
        (_raises, ZeroDivisionError, r"^by hand$"),
        (lambda config: None, TrainableError, r"returned without a report; call tune\.report\(\{…"),
    ],
)
def test_what_goes_wrong_is_told_by_the_step(
    tmp_path: Path, function: Function, kind: type[Exception], message: str
) -> None:
    with trial(function, tmp_path) as running, pytest.raises(kind, match=message):
        running.step()


def test_its_promises_are_checked_as_a_classs_are() -> None:
    check_trainable(parabola.train, {"x": 0.5, "reports": 3}, metric="loss")

    def forgets(config: dict[str, Any]) -> None:
        for epoch in range(1, 9):
            tune.report({"loss": 1 / epoch})

    with pytest.raises(TrainableError, match=r"^tune\.report\(checkpoint=…\) and tune\.get_chec"):
        check_trainable(forgets, {}, metric="loss")


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_function_is_searched_and_goes_on_after_it_failed(
    ray_address: str,
    quadratic: Callable[..., Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    log, once = tmp_path / "log", tmp_path / "once"
    file = quadratic(reports=2, log=str(log), fails_once=str(once))
    text = file.read_text().replace("quadratic.py:Quadratic", "parabola.py:train")
    file.write_text(f"retries = 1\n{text}")
    place = ["--runs", str(tmp_path / "runs"), "--address", ray_address, "--json"]
    command.main([str(file), *place, "--export-best"])
    result = json.loads(capfd.readouterr().out)
    assert (result["status"], result["model"]) == ("completed", "model")
    assert result["model_of"] == {"trial_id": result["best"]["trial_id"], "epoch": 2}
    for record in result["trials"]:
        x = record["config"]["x"]
        assert (record["status"], record["epochs"]) == ("completed", 2)
        assert record["metrics"]["loss"] == pytest.approx((x - 0.3) ** 2 + 0.5)
    epochs_begun = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(epochs_begun) == 4 * 2 + 1  # the epoch that failed, and no other, came again
