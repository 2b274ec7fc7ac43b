"""Export of a checkpoint as an ONNX model with the recorded loss."""

import json
import logging
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from ray import tune
from ray.tune.trainable import trainable as ray_trainable
from torch import Tensor, nn

from app.experiment import loading
from app.export.onnx_model import export_onnx
from app.export.restored_trial import restored_trial
from app.export.trial_snapshot import TrialSnapshot, best_snapshot
from app.export.user_code import ExportError
from app.run.status import TrialStatus
from app.run.trial import Epoch, Trial
from serve.runtime.onnx_predictor import load
from tests.support import networks
from tests.support.small_mnist import SmallMnist
from trainables.mnist import Net

CONFIG = {"lr": 0.05, "batch_size": 64}
FIXED = {"momentum": 0.5, "seed": 0}


@pytest.fixture(scope="session")
def shared() -> Mapping[str, Any]:
    return SmallMnist.shared(None, False)


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory, shared: Mapping[str, Any]) -> TrialSnapshot:
    """A trial of two epochs, with a checkpoint after each."""
    run = tmp_path_factory.mktemp("run")

    class Local(SmallMnist):
        def setup(self, config: dict[str, Any]) -> None:  # type: ignore[override]
            super().setup(config, **shared)

    trained = Local(config={**CONFIG, **FIXED})
    trial = Trial("001", dict(CONFIG), status=TrialStatus.COMPLETED)
    for epoch in (1, 2):
        metrics = {key: value for key, value in trained.step().items() if key != "epoch"}
        folder = run / f"checkpoint_{epoch}"
        folder.mkdir()
        trained.save_checkpoint(str(folder))
        trial.history.append(Epoch(epoch, metrics))
        trial.checkpoints[epoch] = folder.name
    trial.best_epoch = trial.history[1]
    return best_snapshot(run, loading.load(None, {}), SmallMnist, shared, trial)


@pytest.fixture(scope="module")
def model(snapshot: TrialSnapshot, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the trial's model."""
    folder = tmp_path_factory.mktemp("exported") / "model"
    export_onnx(snapshot, folder)
    return folder


def test_the_model_has_the_loss_recorded_at_the_best_epoch(
    snapshot: TrialSnapshot, model: Path, shared: Mapping[str, Any]
) -> None:
    predictor = load(model)
    test = shared["test"]
    outputs = predictor.predict(test.images[:, None].astype(np.float32))
    loss = -outputs[np.arange(len(test.labels)), test.labels].mean()
    assert loss == pytest.approx(snapshot.epoch.metrics["average_test_loss"], abs=1e-5)
    assert snapshot.epoch.number == 2
    assert outputs[:1] == pytest.approx(predictor.predict(test.images[:1, None].astype("f4")))


def test_the_manifest_has_the_trial_and_the_inputs_of_the_model(
    snapshot: TrialSnapshot, model: Path
) -> None:
    manifest = json.loads((model / "model.json").read_text())
    assert sorted(path.name for path in model.iterdir()) == [
        "evaluation.json",
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
    assert manifest["config"] == {**CONFIG, **FIXED}
    assert manifest["metrics"]["average_test_loss"] == snapshot.epoch.metrics["average_test_loss"]
    test = json.loads((model / "evaluation.json").read_text())["test"]
    assert test["correct"] / test["examples"] == snapshot.epoch.metrics["test_accuracy"]


def test_the_weights_load_into_the_users_network(snapshot: TrialSnapshot, model: Path) -> None:
    net = Net()
    net.load_state_dict(safetensors.torch.load_file(model / "weights.safetensors"))
    assert snapshot.checkpoint is not None
    state = torch.load(snapshot.checkpoint / "state.pt", weights_only=True)
    assert all(torch.equal(net.state_dict()[key], state["model"][key]) for key in state["model"])


def test_a_model_with_another_loss_is_not_written(snapshot: TrialSnapshot, tmp_path: Path) -> None:
    loss = snapshot.epoch.metrics["average_test_loss"] + 2e-5
    recorded = Epoch(2, {**snapshot.epoch.metrics, "average_test_loss": loss})
    with pytest.raises(
        ExportError, match=r"the exported model has average_test_loss .*nothing was"
    ):
        export_onnx(replace(snapshot, epoch=recorded), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_trial_without_the_checkpoint_of_its_best_epoch_is_not_exported(
    snapshot: TrialSnapshot, tmp_path: Path
) -> None:
    trial = replace(snapshot.trial, checkpoints={1: "checkpoint_1"})
    message = "it has no checkpoint of its best epoch, 2"
    with pytest.raises(ExportError, match=message):
        best_snapshot(tmp_path, snapshot.experiment, SmallMnist, {}, trial)
    with pytest.raises(ExportError, match="it reported no finite average_test_loss"):
        best_snapshot(
            tmp_path, snapshot.experiment, SmallMnist, {}, replace(trial, best_epoch=None)
        )


class Plain(tune.Trainable):
    """A user's trainable with only the methods that an export needs."""

    def setup(self, config: dict[str, Any]) -> None:
        torch.manual_seed(0)
        self.net: nn.Module = nn.Linear(3, 2)

    def model(self) -> nn.Module:
        return self.net

    def example_input(self) -> Tensor:
        return torch.ones(2, 3)

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing was learned."""


def test_a_users_trainable_is_exported(snapshot: TrialSnapshot, tmp_path: Path) -> None:
    export_onnx(replace(snapshot, trainable=Plain, shared={}), tmp_path / "model")
    predictor = load(tmp_path / "model")
    assert predictor.manifest.inputs[0].range is None
    assert predictor.manifest.labels is None
    assert predictor.predict(np.ones((5, 3), np.float32)).shape == (5, 2)


def _raise(*arguments: Any) -> Any:
    raise ValueError("\x1b[91mno\x1b[0m\nand more of it")


def _leave(*arguments: Any) -> Any:
    sys.exit(0)


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def _raise_unprintable(*arguments: Any) -> Any:
    raise Unprintable


class Mute(nn.Module):
    """Raises when it is run, or asked for its weights."""

    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("no")


class Weightless(nn.Linear):
    def state_dict(self, *arguments: Any, **more: Any) -> Any:
        raise ValueError("no")


@pytest.mark.parametrize(
    ("own", "sentence"),
    [
        ({"setup": _raise}, r"setup\(\) raised ValueError: no"),
        ({"setup": _leave}, r"setup\(\) raised SystemExit: 0"),
        ({"load_checkpoint": _raise}, r"load_checkpoint\(\) raised ValueError: no"),
        ({"model": _raise}, r"model\(\) raised ValueError: no"),
        ({"model": _raise_unprintable}, r"model\(\) raised Unprintable"),
        ({"model": lambda self: None}, r"model\(\) must give a torch\.nn\.Module, gave NoneType"),
        ({"model": lambda self: Mute()}, r"forward\(\) raised ValueError: no"),
        ({"model": lambda self: Weightless(3, 2)}, r"state_dict\(\) raised ValueError: no"),
        ({"example_input": _raise}, r"example_input\(\) raised ValueError: no"),
        ({"example_input": lambda self: 1}, r"example_input\(\) must give .*, gave int"),
        ({"example_input": lambda self: torch.ones(())}, r"must give .* of shape \[\]"),
        ({"evaluate": _raise}, r"evaluate\(\) raised ValueError: no"),
        ({"evaluate": lambda self, predict: {"a": 1}}, "evaluate.. gave no 'loss'; it gave a"),
        ({"evaluate": lambda self, predict: {"loss": "x"}}, r"evaluate\(\) raised ValueError"),
        ({"labels": "xy"}, "labels: must be a tuple"),
        ({"output_meaning": "softmax"}, "output_meaning: must be one of logits, .*; got 'softmax'"),
        (
            {"output_meaning": "probabilities"},
            r"output_meaning: is 'probabilities', but the outputs for example_input\(\) do not all",
        ),
        ({"output_name": 3}, "the network has no ONNX form: TypeError"),
    ],
)
def test_an_exception_of_a_users_code_becomes_one_sentence(
    own: Mapping[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=sentence) as refused:
        export_onnx(
            networks.snapshot(type("Own", (Plain,), dict(own)), tmp_path), tmp_path / "model"
        )
    assert "\n" not in str(refused.value)
    assert "\x1b" not in str(refused.value)
    assert not (tmp_path / "model").exists()


def test_an_exception_of_cleanup_is_only_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = type("Own", (Plain,), {"cleanup": _raise})
    export_onnx(networks.snapshot(own, tmp_path), tmp_path / "model")
    assert load(tmp_path / "model").manifest.trial_id == "001"
    assert caplog.messages[-1] == "cleanup() raised ValueError: no"


def test_weights_are_written_if_no_model_can_be(tmp_path: Path) -> None:
    snapshot = networks.snapshot(networks.FixedBatchNetwork, tmp_path)
    weights = tmp_path / "weights.safetensors"
    with pytest.raises(ExportError, match="batch is fixed at 4"):
        export_onnx(snapshot, tmp_path / "model", weights=weights)
    assert set(safetensors.torch.load_file(weights)) == {"linear.weight", "linear.bias"}
    none = networks.snapshot(type("Own", (Plain,), {"model": _raise}), tmp_path / "none")
    with pytest.raises(ExportError, match=r"model\(\) raised"):
        export_onnx(none, tmp_path / "model", weights=tmp_path / "none.safetensors")
    assert not (tmp_path / "none.safetensors").exists()
    assert not (tmp_path / "model").exists()


def test_the_tolerance_of_large_losses_is_relative(tmp_path: Path) -> None:
    own = {"evaluate": lambda self, predict: {"loss": 500.002}}
    snapshot = networks.snapshot(type("Own", (Plain,), own), tmp_path)
    export_onnx(replace(snapshot, epoch=Epoch(1, {"loss": 500.0})), tmp_path / "model")
    with pytest.raises(ExportError, match="nothing was written"):
        export_onnx(replace(snapshot, epoch=Epoch(1, {"loss": 500.1})), tmp_path / "other")


class WritesInItsFolder(Plain):
    """Writes a file in its trial's folder, which it may have written before."""

    def setup(self, config: dict[str, Any]) -> None:
        super().setup(config)
        folder: Path = vars(self)["trial_folder"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "word").touch()


def test_a_restored_trial_has_its_folder(tmp_path: Path) -> None:
    export_onnx(networks.snapshot(WritesInItsFolder, tmp_path), tmp_path / "model")
    assert (tmp_path / "trials/001/word").exists()


def test_golden_inputs_are_not_changed_by_the_network(tmp_path: Path) -> None:
    case = networks.CASES["changes_its_input"]
    export_onnx(networks.snapshot(networks.trainable(case), tmp_path), tmp_path / "model")
    inputs = np.array(load(tmp_path / "model").manifest.golden.inputs)
    assert inputs.min() >= 0  # it makes them -1 to 1


def test_a_model_has_no_trace_of_its_source_code(tmp_path: Path) -> None:
    written = export_onnx(networks.snapshot(Plain, tmp_path), tmp_path / "model").artifact.onnx
    for trace in (
        __file__,
        Path(__file__).name,
        "site-packages",
        "network.py",
        ".forward(",
        "self.",
    ):
        assert trace.encode() not in written


class Seeded(Plain):
    """Has the seed that it was set up with as its weights."""

    def setup(self, config: dict[str, Any]) -> None:
        super().setup(config)
        with torch.no_grad():
            vars(self)["net"].bias.fill_(config["seed"])


def test_a_repeat_is_restored_with_its_own_seed(tmp_path: Path) -> None:
    snapshot = networks.snapshot(Seeded, tmp_path)
    asked = snapshot.experiment.model_copy(update={"repeats": 3})
    for trial_id, seed in (("001", 3), ("003", 5), ("004", 3), ("002", 4)):
        repeat = replace(snapshot.trial, trial_id=trial_id)
        snapshot = replace(snapshot, experiment=asked, trial=repeat)
        with restored_trial(snapshot) as trial:
            assert trial.net.bias.tolist() == [seed, seed]
    export_onnx(snapshot, tmp_path / "model")
    assert load(tmp_path / "model").manifest.config == {"lr": 0.5, "width": 8, "seed": 4}
    weights = safetensors.torch.load_file(tmp_path / "model/weights.safetensors")
    assert weights["bias"].tolist() == [4, 4]


def test_an_export_prints_nothing_and_leaves_no_files(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        export_onnx(networks.snapshot(Plain, tmp_path), tmp_path / "model")
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.levelno >= logging.INFO]
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint", "model"}


def test_an_export_makes_no_folder_in_rays_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ray's own code would make one below this.
    monkeypatch.setattr(ray_trainable, "DEFAULT_STORAGE_PATH", str(tmp_path / "results"))
    export_onnx(networks.snapshot(Plain, tmp_path / "run"), tmp_path / "model")
    assert not (tmp_path / "results").exists()
