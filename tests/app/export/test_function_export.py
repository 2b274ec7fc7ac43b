"""Export of a function's model: `load_model` and the other names beside it, and what is missing."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from ray import tune

from app.experiment import loading
from app.export.onnx_model import export_onnx
from app.export.trial_models import NetworkModels, nothing_to_export
from app.export.trial_snapshot import TrialSnapshot, best_snapshot
from app.export.user_code import ExportError
from app.run.status import TrialStatus
from app.run.trial import Epoch, Trial
from serve.runtime.onnx_predictor import load
from tests.support import parabola
from tests.support.function_trial import trial
from trainables.function.trainable import as_class


def snapshot(tmp_path: Path, module: Any = parabola, **values: Any) -> TrialSnapshot:
    """A trial of three epochs at the last, which is its best."""
    searched = {"x": 0.8, "reports": 3, **values}
    known = Trial("001", searched, status=TrialStatus.COMPLETED)
    with trial(parabola.train, tmp_path, **searched) as running:
        for epoch in (1, 2, 3):
            known.history.append(Epoch(epoch, {"loss": running.train()["loss"]}))
            folder = tmp_path / f"checkpoint_{epoch}"
            running.save(str(folder))
            known.checkpoints[epoch] = folder.name
    known.best_epoch = known.history[-1]
    experiment = loading.load(None, {"metric": "loss", "name": "parabola"})
    found = as_class(parabola.train, module)
    return best_snapshot(tmp_path, experiment, found, {}, known)


def module_with(**names: Any) -> ModuleType:
    """The module of the function with other names in it; None removes one."""
    module = ModuleType("mine")
    vars(module).update({**vars(parabola), **names})
    for name, value in names.items():
        if value is None:
            delattr(module, name)
    return module


def test_a_function_is_exported_by_the_names_beside_it(tmp_path: Path) -> None:
    export_onnx(snapshot(tmp_path), tmp_path / "model")
    outputs = load(tmp_path / "model").predict(np.ones((1, 1), np.float32))
    assert outputs[0] == pytest.approx([0.25 + 1 / 3, -0.25 - 1 / 3])
    manifest = json.loads((tmp_path / "model/model.json").read_text())
    assert (manifest["epoch"], manifest["labels"]) == (3, ["far", "near"])
    assert manifest["outputs"][0]["meaning"] == "logits"
    assert manifest["metrics"] == {"loss": pytest.approx(0.25 + 1 / 3)}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            {"evaluate": lambda predict: {"loss": 0.3}},
            r"^the exported model has loss 0\.300000, trial 001 recorded 0\.583333 in epoch 3; no",
        ),
        ({"example_input": None}, r" has no example_input\(\): nothing to export$"),
        ({"example_input": lambda: [1.0]}, r"^example_input\(\) must give one tensor of examples"),
        (
            {"load_model": lambda checkpoint_dir, config: {}},
            r"^load_model\(\) must give a torch\.nn\.Module, gave dict$",
        ),
        (
            {"load_model": lambda checkpoint_dir, config: config["layers"]},
            r"^load_model\(\) raised KeyError: 'layers'$",
        ),
        (
            {"load_model": lambda checkpoint_dir: None},
            r"^load_model\(\) raised TypeError: .*takes 1 positional argument but 2 were given$",
        ),
    ],
)
def test_what_is_wrong_with_it_is_one_sentence(
    tmp_path: Path, names: dict[str, Any], message: str
) -> None:
    with pytest.raises(ExportError, match=message):
        export_onnx(snapshot(tmp_path, module_with(**names)), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_the_model_is_of_the_last_checkpoint_up_to_the_best_epoch(tmp_path: Path) -> None:
    known = snapshot(tmp_path, keeps=2)
    models = NetworkModels(tmp_path, known.experiment, known.trainable, {})
    model = models.export(known.trial, tmp_path / "model", None)
    assert (model.epoch, model.remarks) == (
        2,
        ("its best epoch, 3, has no checkpoint; the model is of epoch 2",),
    )
    manifest = json.loads((tmp_path / "model/model.json").read_text())
    assert (manifest["epoch"], manifest["metrics"]) == (2, {"loss": 0.75})


def test_one_that_reported_no_checkpoint_is_told_how(tmp_path: Path) -> None:
    message = (
        r"^it reported no checkpoint up to its best epoch, 3; give a report one, by checkpoint="
    )
    with pytest.raises(ExportError, match=message):
        snapshot(tmp_path, keeps=9)


def test_one_without_load_model_is_told_how_to_write_it() -> None:
    found = as_class(lambda config: tune.report({"loss": 1.0}), ModuleType("mine"))
    assert not NetworkModels.is_exportable(found)
    experiment = loading.load(None, {})
    assert nothing_to_export(experiment, found) == (
        "mnist has no load_model(checkpoint_dir, config) in its file, which returns the"
        " torch.nn.Module: there is nothing to export"
    )
