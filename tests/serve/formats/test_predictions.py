"""Predictions of `/predict` for outputs of each meaning."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from starlette.testclient import TestClient

from serve.formats.predictions import gives_labels, predictions, probabilities, why_no_predictions
from serve.http.app import create_app
from serve.models.manifest import Manifest, TensorSpec
from serve.rollout.registry import Registry
from serve.runtime.onnx_backend import OnnxBackend
from tests.support.fake_model import image, png

Floats = NDArray[np.float32]
THREE = ("x", "y", "z")
TWO = ("no", "yes")


def manifest(
    meaning: str | None, labels: Sequence[str] | None, shape: tuple[int, ...] = (3,)
) -> Manifest:
    """A model of four numbers, whose output has that shape for each input."""
    return Manifest(
        name="m",
        version="0123456789ab",
        inputs=(TensorSpec("x", "float32", (-1, 4)),),
        outputs=(TensorSpec("y", "float32", (-1, *shape), meaning=meaning),),
        labels=None if labels is None else tuple(labels),
    )


class Fixed:
    """Answers every input with the same output."""

    def __init__(self, manifest: Manifest, output: Any) -> None:
        self.manifest = manifest
        self._output = np.asarray(output, np.float32)

    def predict(self, pixels: Floats) -> Floats:
        return np.repeat(self._output[None], len(pixels), axis=0)


def client(manifest: Manifest, output: Any) -> TestClient:
    """A client of a server of that model."""
    return TestClient(create_app(Registry(OnnxBackend(Fixed(manifest, output)))))


def predict(manifest: Manifest, output: Any) -> dict[str, Any]:
    """Return the answer of `/predict` for an input with that output."""
    reply = client(manifest, output).post("/predict", json={"instances": [[0, 0, 0, 0]]})
    assert reply.status_code == 200
    (prediction,) = reply.json()["predictions"]
    return dict(prediction)


@pytest.mark.parametrize(
    ("meaning", "labels", "output", "label", "expected"),
    [
        ("logits", THREE, [0.0, np.log(2), 0.0], "y", [0.25, 0.5, 0.25]),
        (None, THREE, [0.0, np.log(2), 0.0], "y", [0.25, 0.5, 0.25]),
        ("log_probabilities", THREE, np.log([0.5, 0.25, 0.25]), "x", [0.5, 0.25, 0.25]),
        ("probabilities", THREE, [0.25, 0.25, 0.5], "z", [0.25, 0.25, 0.5]),
        ("sigmoids", THREE, [0.75, 0.5, 0.25], "x", [0.75, 0.5, 0.25]),
        ("sigmoids", TWO, [0.75], "yes", [0.25, 0.75]),
        ("sigmoids", TWO, [0.25], "no", [0.75, 0.25]),
        ("sigmoids", TWO, [0.25, 0.5], "yes", [0.25, 0.5]),
        ("logits", TWO, [np.log(3)], "yes", [0.25, 0.75]),
        ("logits", TWO, [-1000.0], "no", [1.0, 0.0]),
        ("logits", THREE, [0.0, 0.0, -np.inf], "x", [0.5, 0.5, 0.0]),
        ("log_probabilities", TWO, [-np.inf, 0.0], "yes", [0.0, 1.0]),
    ],
)
def test_outputs_become_the_probabilities_that_they_mean(
    meaning: str | None,
    labels: Sequence[str],
    output: Any,
    label: str,
    expected: Sequence[float],
) -> None:
    found = predict(manifest(meaning, labels, (len(output),)), output)
    assert found["label"] == label
    assert found["probability"] == pytest.approx(max(expected))
    assert found["probabilities"] == pytest.approx(expected)


def test_one_output_without_an_axis_of_its_own_has_two_labels() -> None:
    found = predict(manifest("sigmoids", TWO, ()), 0.75)
    assert (found["label"], found["probabilities"]) == ("yes", [0.25, 0.75])


@pytest.mark.parametrize(
    ("meaning", "labels", "output", "expected"),
    [
        ("values", None, [1.5, -2.0], {"values": [1.5, -2.0]}),
        ("values", None, 1.5, {"values": 1.5}),
        ("values", None, [[1.0, 2.0], [3.0, 4.0]], {"values": [[1.0, 2.0], [3.0, 4.0]]}),
        ("probabilities", None, [0.25, 0.75], {"values": [0.25, 0.75]}),
        (None, None, [1.5], {"values": [1.5]}),
        ("values", ("price", "rooms"), [250.0, 3.0],
         {"labels": ["price", "rooms"], "values": [250.0, 3.0]}),
        ("logits", ("a", "b"), [1.0, 2.0, 3.0], {"values": [1.0, 2.0, 3.0]}),
    ],
)  # fmt: skip
def test_outputs_that_are_not_probabilities_are_named(
    meaning: str | None, labels: Sequence[str] | None, output: Any, expected: dict[str, Any]
) -> None:
    found = predict(manifest(meaning, labels, np.shape(output)), output)
    assert found == {"outputs": [{"name": "y", **expected}]}


def test_a_map_of_classes_has_no_predictions() -> None:
    model = manifest("logits", THREE, (3, 8, 8))
    reply = client(model, np.zeros((3, 8, 8))).post("/predict", json=[[0, 0, 0, 0]])
    assert (reply.status_code, reply.json()) == (404, {"error": why_no_predictions(model)})
    assert "its output has shape (N, 3, 8, 8); /invocations gives it" in reply.json()["error"]
    described = client(model, np.zeros((3, 8, 8))).get("/openapi.json").json()
    assert described["paths"]["/predict"]["post"]["summary"] == "Not for this model."


def test_infinite_values_have_no_form_in_json_and_one_in_the_others() -> None:
    server = client(manifest("values", None), [1.0, 2.0, -np.inf])
    for path in ("/predict", "/invocations"):
        reply = server.post(path, json=[[0, 0, 0, 0]])
        assert reply.status_code == 406
        assert "infinite in places, which JSON cannot hold" in reply.json()["error"]
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [0, 0, 0, 0]}
    assert server.post("/v2/models/m/infer", json={"inputs": [tensor]}).status_code == 406
    reply = server.post("/invocations", json=[[0, 0, 0, 0]], headers={"accept": "text/csv"})
    assert [float(text) for text in reply.text.split(",")] == [1.0, 2.0, -np.inf]


@pytest.mark.parametrize(
    ("meaning", "output"),
    [("log_probabilities", [[1000.0, 0.0]]), ("logits", [[np.inf, 0.0]])],
)
def test_outputs_that_give_no_probabilities_are_the_models_fault(
    meaning: str, output: list[list[float]]
) -> None:
    with pytest.raises(ArithmeticError, match=f"the model's outputs are not {meaning}"):
        probabilities(np.array(output, np.float32), meaning, 2)


def test_several_inputs_are_answered_in_order() -> None:
    outputs = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    found = predictions(manifest("probabilities", TWO, (2,)), outputs)
    assert [prediction["label"] for prediction in found] == ["no", "yes"]


@pytest.mark.parametrize(
    ("meaning", "labels", "shape", "expected"),
    [
        ("logits", THREE, (3,), True),
        ("sigmoids", TWO, (1,), True),
        ("logits", TWO, (3,), False),
        ("values", THREE, (3,), False),
        ("logits", THREE, (3, 8, 8), False),
        ("logits", None, (3,), False),
    ],
)
def test_labels_are_given_if_they_name_the_outputs_values(
    meaning: str, labels: Sequence[str] | None, shape: tuple[int, ...], expected: bool
) -> None:
    assert gives_labels(manifest(meaning, labels, shape)) is expected


def drawable(meaning: str | None) -> TestClient:
    """A server of a model that takes images and labels them."""
    image = TensorSpec("x", "float32", (-1, 1, 28, 28), (0.0, 255.0))
    return client(replace(manifest(meaning, THREE), inputs=(image,)), [0.5, 0.25, 0.25])


def test_the_page_is_for_models_that_give_probabilities() -> None:
    assert drawable("probabilities").get("/").status_code == 200
    assert drawable("values").get("/").status_code == 404


def test_values_of_an_image_are_given_and_described() -> None:
    server = drawable("values")
    one = png(image(1).astype(np.uint8))
    reply = server.post("/predict", content=one, headers={"content-type": "image/png"})
    (prediction,) = json.loads(reply.content)["predictions"]
    assert prediction["outputs"][0]["values"] == [0.5, 0.25, 0.25]
    operation = server.get("/openapi.json").json()["paths"]["/predict"]["post"]
    assert operation["summary"] == "The outputs by name, for numbers or for one image."
