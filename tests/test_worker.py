"""A trainable under our control, in this process and without Ray."""

import math
import os
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from app.search import CONTROL, FAILURE, REPORT
from app.worker import Terms, supervised
from trainables.contract import TrainableError, checked


class Counter(tune.Trainable):
    """Counts its epochs; `raises` names what is to go wrong."""

    def setup(self, config: dict[str, Any]) -> None:
        if config.get("raises") == "setup":
            raise ValueError("no such data")
        self.seen = dict(config)
        self.count = 0

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        if self.seen.get("raises") == "step":
            raise TrainableError("the data is gone")
        self.count += 1
        return {"loss": 1 / self.count}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        Path(checkpoint_dir, "count").write_text(str(self.count))

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.count = int(Path(checkpoint, "count").read_text())


def built(folder: Path, **config: Any) -> Any:
    return supervised(Counter, Terms("loss", folder))(config=with_control(**config))


def with_control(checkpoint: str | None = None, epochs: int = 0, **config: Any) -> dict[str, Any]:
    control = {"trial_id": "001", "checkpoint": checkpoint, "epochs": epochs, "leg": 1}
    return {**config, CONTROL: control}


def test_the_trainable_sees_its_own_values_alone(tmp_path: Path) -> None:
    trial = built(tmp_path, x=1)
    assert trial.seen == trial.config == {"x": 1}
    assert trial.step()[REPORT] == {"loss": 1.0}


def test_a_trial_goes_on_from_the_checkpoint_that_its_configuration_names(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old/count").write_text("4")
    trial = built(tmp_path, checkpoint="old", epochs=4)
    assert trial.iteration == 4
    assert trial.step()["loss"] == 1 / 5
    assert trial.reset(with_control())
    assert trial.iteration == 0
    assert trial.step()["loss"] == 1
    assert trial.reset(with_control(checkpoint="old", epochs=4))
    assert (trial.iteration, trial.count) == (4, 4)


@pytest.mark.parametrize(
    ("raises", "failure"),
    [("setup", "ValueError: no such data"), ("step", "the data is gone")],
)
def test_what_is_raised_ends_the_trial_and_not_its_process(
    tmp_path: Path, raises: str, failure: str
) -> None:
    trial = built(tmp_path, raises=raises)
    result = trial.step()
    assert result["done"]
    assert math.isnan(result["loss"])
    assert result[FAILURE] == failure
    assert trial.reset(with_control())
    assert trial.step()[REPORT] == {"loss": 1.0}


def test_a_trial_without_state_saves_none_and_its_process_sets_the_next_one_up(
    tmp_path: Path,
) -> None:
    trial = built(tmp_path, raises="setup")
    assert trial.step()[FAILURE] == "ValueError: no such data"
    (tmp_path / "saved").mkdir()
    trial.save(str(tmp_path / "saved"))
    assert not (tmp_path / "saved/count").exists()
    assert trial.reset(with_control(x=2))
    assert (trial.seen, trial.count) == ({"x": 2}, 0)


def test_an_epoch_is_on_the_disk_before_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []

    def fsync(file: int) -> None:
        synced.append(Path(f"/proc/self/fd/{file}").readlink())

    monkeypatch.setattr(os, "fsync", fsync)
    built(tmp_path).save(str(tmp_path / "epoch"))
    assert {tmp_path / "epoch", tmp_path / "epoch/count"} <= set(synced)


def test_a_checkpoint_that_is_gone_fails_the_trial(tmp_path: Path) -> None:
    trial = built(tmp_path, checkpoint="gone", epochs=2)
    assert "gone" in trial.step()[FAILURE]


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ([], r"step\(\) must return a dictionary of metrics, got \[\]"),
        ({}, r"metric: step\(\) reported no 'loss'; it reported nothing"),
        ({"lost": 1}, r"metric: step\(\) reported no 'loss'; it reported lost"),
        ({"loss": "low"}, r"step\(\) reported 'loss' as 'low'; metrics must be numbers"),
        ({"loss": math.inf}, "loss became inf in epoch 3"),
    ],
)
def test_metrics_that_cannot_be_used_are_named(metrics: Any, message: str) -> None:
    with pytest.raises(TrainableError, match=f"^{message}$"):
        checked(metrics, "loss", epoch=3)


def test_numbers_of_other_libraries_become_plain_ones() -> None:
    import numpy as np
    import torch

    metrics = {"loss": torch.tensor(0.5), "accuracy": np.float32(0.25), "other": math.nan}
    assert checked(metrics, "loss", epoch=1) == {"loss": 0.5, "accuracy": 0.25, "other": None}
