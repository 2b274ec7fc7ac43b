"""Figures beside a model: its latency, and the test examples that it takes for something else."""

import base64
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.export.evaluation import WORST, write_evaluation
from app.run.layout import EVALUATION
from serve.models.artifact import Artifact, read
from serve.runtime.onnx_predictor import OnnxPredictor
from tests.support.tiny_model import TinyModel

IMAGES = np.random.default_rng(2).integers(0, 256, (100, 1, 28, 28)).astype(np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("model") / "model"
    TinyModel.random().write(folder)
    return read(folder)


def evaluate(model: Artifact, folder: Path, trial: Any) -> tuple[dict[str, Any], str | None]:
    remark = write_evaluation(folder, trial, model, OnnxPredictor(model))
    return json.loads((folder / EVALUATION).read_text()), remark


def with_data(inputs: Any, answers: Any) -> Any:
    return SimpleNamespace(labelled_examples=lambda: (inputs, answers))


def test_confusions_and_the_worst_examples_are_those_of_the_class(
    model: Artifact, tmp_path: Path
) -> None:
    outputs = TinyModel.random().outputs(IMAGES.astype(np.float32))
    answers = outputs.argmax(axis=1)
    answers[:3] = outputs[:3].argmin(axis=1)
    figures, remark = evaluate(model, tmp_path, with_data(IMAGES, answers))
    assert remark is None
    test = figures["test"]
    assert (test["examples"], test["correct"]) == (100, 97)
    assert np.trace(test["confusion"]) == 97
    assert np.sum(test["confusion"]) == 100
    assert len(test["worst"]) == WORST
    assert {worst["index"] for worst in test["worst"][:3]} == {0, 1, 2}
    worst = test["worst"][0]
    assert worst["label"] == str(answers[worst["index"]])
    assert worst["taken_for"] == str(outputs[worst["index"]].argmax())
    assert worst["probability"] == pytest.approx(np.exp(outputs[worst["index"]].min()), rel=1e-4)
    with Image.open(io.BytesIO(base64.b64decode(worst["image"]))) as picture:
        assert np.array_equal(np.asarray(picture), IMAGES[worst["index"], 0])


def test_latency_stands_with_its_conditions(model: Artifact, tmp_path: Path) -> None:
    figures, remark = evaluate(model, tmp_path, object())
    assert (figures["test"], remark) == (None, None)
    assert figures["size_bytes"] == len(model.onnx)
    assert figures["model_version"] == model.manifest.version
    latency = figures["latency"]
    assert 0 < latency["median_ms"] <= latency["p95_ms"]
    assert (latency["batch"], latency["threads"], latency["runs"] > 0) == (1, 1, True)
    assert latency["processor"]


@pytest.mark.parametrize(
    ("trial", "message"),
    [
        (with_data(IMAGES[:, 0], [0] * 100), r"shape \(N, 1, 28, 28\).*gave \[100, 28, 28\]"),
        (with_data(IMAGES, np.full(100, 10)), "indices of 10 labels, from 0; .* from 10 to 10"),
        (
            SimpleNamespace(labelled_examples=lambda: 1 / 0),
            r"labelled_examples\(\) raised ZeroDivisionError",
        ),
        (
            SimpleNamespace(labelled_examples=lambda: None),
            r"labelled_examples\(\) raised TypeError",
        ),
    ],
)
def test_examples_that_are_none_are_told_and_harm_nothing(
    model: Artifact, tmp_path: Path, trial: Any, message: str
) -> None:
    figures, remark = evaluate(model, tmp_path, trial)
    assert figures["test"] is None
    assert remark is not None
    assert remark.startswith("its report has no examples: ")
    assert re.search(message, remark)
