"""A checkpoint becomes a CPU model that gives what was recorded."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from ray import tune
from torch import Tensor, nn

from app import experiment
from app.export import ExportError, Source, best_source, export
from app.journal import Trial
from serve.engine import load
from tests.small_mnist import SmallMnist
from trainables.mnist import Net

CONFIG = {"lr": 0.05, "batch_size": 64}
PINNED = {"momentum": 0.5, "seed": 0}


@pytest.fixture(scope="session")
def shared() -> Mapping[str, Any]:
    return SmallMnist.shared(None, False)


@pytest.fixture
def source(tmp_path: Path, shared: Mapping[str, Any]) -> Source:
    """A trial of two epochs, with a checkpoint after each."""

    class Built(SmallMnist):
        def setup(self, config: dict[str, Any]) -> None:  # type: ignore[override]
            super().setup(config, **shared)

    trained = Built(config={**CONFIG, **PINNED})
    trial = Trial("001", dict(CONFIG), status="completed")
    for epoch in (1, 2):
        metrics = {key: value for key, value in trained.step().items() if key != "epoch"}
        folder = tmp_path / f"checkpoint_{epoch}"
        folder.mkdir()
        trained.save_checkpoint(str(folder))
        trial.history.append({"epoch": epoch, **metrics})
        trial.checkpoints[epoch] = folder.name
    trial.best_epoch = trial.history[1]
    return best_source(tmp_path, experiment.load(None, {}), SmallMnist, shared, trial)


def test_the_model_gives_the_loss_that_was_recorded_at_the_best_epoch(
    source: Source, tmp_path: Path, shared: Mapping[str, Any]
) -> None:
    export(source, tmp_path / "model")
    predictor = load(tmp_path / "model")
    test = shared["test"]
    outputs = predictor.predict(test.images[:, None].astype(np.float32))
    loss = -outputs[np.arange(len(test.labels)), test.labels].mean()
    assert loss == pytest.approx(source.epoch["average_test_loss"], abs=1e-5)
    assert source.epoch["epoch"] == 2
    assert outputs[:1] == pytest.approx(predictor.predict(test.images[:1, None].astype("f4")))


def test_the_manifest_says_where_the_model_comes_from_and_what_it_takes(
    source: Source, tmp_path: Path
) -> None:
    export(source, tmp_path / "model")
    manifest = json.loads((tmp_path / "model/model.json").read_text())
    assert (tmp_path / "model").is_dir()
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "model.json",
        "model.onnx",
        "weights.safetensors",
    ]
    assert manifest["inputs"] == [
        {
            "name": "image",
            "dtype": "float32",
            "shape": [-1, 1, 28, 28],
            "range": [0.0, 255.0],
            "mean": 0.1307,
            "std": 0.3081,
        }
    ]
    assert manifest["outputs"] == [
        {
            "name": "log_probabilities",
            "dtype": "float32",
            "shape": [-1, 10],
            "meaning": "log_probabilities",
        }
    ]
    assert manifest["labels"] == list("0123456789")
    assert (manifest["name"], manifest["trial_id"], manifest["epoch"]) == ("mnist", "001", 2)
    assert manifest["config"] == {**CONFIG, **PINNED}
    assert manifest["metrics"]["average_test_loss"] == source.epoch["average_test_loss"]


def test_the_weights_load_into_the_network_itself(source: Source, tmp_path: Path) -> None:
    export(source, tmp_path / "model")
    net = Net()
    net.load_state_dict(safetensors.torch.load_file(tmp_path / "model/weights.safetensors"))
    state = torch.load(source.checkpoint / "state.pt", weights_only=True)
    assert all(torch.equal(net.state_dict()[key], state["model"][key]) for key in state["model"])


def test_a_model_whose_loss_is_another_is_not_written(source: Source, tmp_path: Path) -> None:
    recorded = {**source.epoch, "average_test_loss": source.epoch["average_test_loss"] + 2e-5}
    with pytest.raises(
        ExportError, match=r"the exported model has average_test_loss .*nothing was"
    ):
        export(replace(source, epoch=recorded), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_trial_without_the_checkpoint_of_its_best_epoch_is_not_exported(
    source: Source, tmp_path: Path
) -> None:
    trial = replace(source.trial, checkpoints={1: "checkpoint_1"})
    message = "it has no checkpoint of its best epoch, 2"
    with pytest.raises(ExportError, match=message):
        best_source(tmp_path, source.experiment, SmallMnist, {}, trial)
    with pytest.raises(ExportError, match="it reported no finite average_test_loss"):
        best_source(tmp_path, source.experiment, SmallMnist, {}, replace(trial, best_epoch=None))


class Plain(tune.Trainable):
    """A trainable of somebody's own, with what export needs and no more."""

    def setup(self, config: dict[str, Any]) -> None:
        torch.manual_seed(0)
        self.net: nn.Module = nn.Linear(3, 2)

    def model(self) -> nn.Module:
        return self.net

    def example_input(self) -> Tensor:
        return torch.ones(2, 3)

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing was learned."""


def test_a_trainable_of_ones_own_is_exported_as_it_is(source: Source, tmp_path: Path) -> None:
    export(replace(source, trainable=Plain, shared={}), tmp_path / "model")
    predictor = load(tmp_path / "model")
    assert predictor.manifest.inputs[0].range is None
    assert predictor.manifest.labels is None
    assert predictor.predict(np.ones((5, 3), np.float32)).shape == (5, 2)


class Awkward(Plain):
    """Its network does what no graph can."""

    def setup(self, config: dict[str, Any]) -> None:
        class Branching(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return x if float(x.sum()) > 0 else -x

        self.net = Branching()


def test_a_network_that_has_no_graph_is_a_clear_error(source: Source, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="the network has no ONNX form: "):
        export(replace(source, trainable=Awkward, shared={}), tmp_path / "model")
    assert not (tmp_path / "model").exists()
