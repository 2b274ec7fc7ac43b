"""The Open Inference Protocol: its metadata, its inference, and what it refuses."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from serve.formats.json_numbers import MAX_VALUES
from serve.http.app import create_app
from serve.models.manifest import TensorSpec
from serve.rollout.registry import Registry
from serve.runtime.onnx_backend import OnnxBackend
from tests.support.fake_model import DIGITS, Fake, image

MODEL = "/v2/models/digits"
VERSION = f"{MODEL}/versions/{DIGITS.version}"


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(create_app(Registry(OnnxBackend(Fake())))) as client:
        yield client


def request(**changes: Any) -> dict[str, Any]:
    """A request for two images, whose first pixels are 3 and 8, with changes to its input."""
    data = np.stack([image(3), image(8)]).astype(int).ravel().tolist()
    tensor = {"name": "image", "shape": [2, 1, 28, 28], "datatype": "FP32", "data": data}
    return {"inputs": [{**tensor, **changes}]}


NESTED: dict[str, Any] = {}
for _ in range(400):
    NESTED = {"a": [NESTED]}


def test_metadata_of_the_server_and_the_model(client: TestClient) -> None:
    server = client.get("/v2").json()
    assert (server["name"], server["extensions"]) == ("tuneport", [])
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json()["live"] is True
    for path in (MODEL, VERSION):
        assert client.get(path).json() == {
            "name": "digits",
            "versions": [DIGITS.version],
            "platform": "onnx_onnxv1",
            "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 1, 28, 28]}],
            "outputs": [{"name": "log_probabilities", "datatype": "FP32", "shape": [-1, 10]}],
        }
        assert client.get(f"{path}/ready").json() == {"name": "digits", "ready": True}


def test_the_metadata_say_what_an_output_means() -> None:
    output = TensorSpec("log_probabilities", "float32", (-1, 10), meaning="log_probabilities")
    fake = Fake(replace(DIGITS, outputs=(output,)))
    with TestClient(create_app(Registry(OnnxBackend(fake)))) as client:
        (output,) = client.get(MODEL).json()["outputs"]
    assert output["parameters"] == {"meaning": "log_probabilities"}


@pytest.mark.parametrize("path", [MODEL, VERSION])
@pytest.mark.parametrize("outputs", [{}, {"outputs": [{"name": "log_probabilities"}]}])
def test_inference_gives_the_named_output_and_the_id(
    client: TestClient, path: str, outputs: dict[str, Any]
) -> None:
    reply = client.post(f"{path}/infer", json={"id": "a1", **request(), **outputs})
    assert reply.status_code == 200
    assert reply.headers["x-input-scale"] == "0-255"
    answer = reply.json()
    (output,) = answer.pop("outputs")
    assert answer == {"model_name": "digits", "model_version": DIGITS.version, "id": "a1"}
    assert (output["name"], output["datatype"]) == ("log_probabilities", "FP32")
    assert output["shape"] == [2, 10]
    assert np.reshape(output["data"], (2, 10)).argmax(axis=1).tolist() == [3, 8]


def test_data_may_be_nested_and_no_id_is_made_up(client: TestClient) -> None:
    nested = np.stack([image(3), image(8)])[:, None].tolist()
    answer = client.post(f"{MODEL}/infer", json=request(data=nested)).json()
    assert "id" not in answer
    assert np.argmax(answer["outputs"][0]["data"][:10]) == 3


@pytest.mark.parametrize("nested", [False, True])
def test_data_of_many_images_are_read(client: TestClient, nested: bool) -> None:
    images = np.stack([image(3), image(8)] * 64)[:, None].astype(int)
    data = (images if nested else images.ravel()).tolist()
    assert images.size > MAX_VALUES
    answer = client.post(f"{MODEL}/infer", json=request(shape=[128, 1, 28, 28], data=data)).json()
    outputs = np.reshape(answer["outputs"][0]["data"], (128, 10))
    assert outputs.argmax(axis=1).tolist() == [3, 8] * 64


@pytest.mark.parametrize(
    ("field", "match"),
    [
        ("name", "inputs[0].name: expected 'image', got a list"),
        ("shape", "expected [-1, 1, 28, 28], got []"),
        ("parameters", "inputs[0].parameters: expected an object"),
    ],
)
def test_many_numbers_in_another_place_are_refused(
    client: TestClient, field: str, match: str
) -> None:
    reply = client.post(f"{MODEL}/infer", json=request(**{field: [1] * (MAX_VALUES + 2)}))
    assert (reply.status_code, match in reply.json()["error"]) == (400, True)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"name": "pixels"}, "inputs[0].name: expected 'image', got 'pixels'"),
        ({"datatype": "UINT8"}, "inputs[0].datatype: expected 'FP32'"),
        ({"shape": [1, 1, 28, 28]}, "1568 numbers of shape [1568] are not [1, 1, 28, 28]"),
        ({"shape": [2, 784]}, "inputs[0].shape: expected [-1, 1, 28, 28]"),
        ({"shape": [-2, 1, 28, 28]}, "sizes from 0 to 2^64 - 1"),
        ({"shape": [2.0, 1, 28, 28]}, "sizes from 0 to 2^64 - 1"),
        ({"shape": [True, 1, 28, 28]}, "sizes from 0 to 2^64 - 1"),
        ({"shape": [2**64, 1, 28, 28]}, "sizes from 0 to 2^64 - 1"),
        ({"shape": [2**64 - 1, 1, 28, 28]}, "are not [18446744073709551615, 1, 28, 28]"),
        ({"shape": [2**63, 1, 28, 28]}, "are not [9223372036854775808, 1, 28, 28]"),
        ({"shape": "2"}, "a list of sizes"),
        ({"data": "AAAA"}, "a list of numbers"),
        ({"data": ["1"]}, '"1" where a number belongs'),
        ({"data": [True] * 1568}, "true where a number belongs"),
        ({"data": np.zeros((784, 2)).tolist()}, "of shape [784, 2] are not [2, 1, 28, 28]"),
        ({"parameters": 1}, "inputs[0].parameters: expected an object"),
    ],
)
def test_an_input_that_is_not_the_models_is_refused(
    client: TestClient, changes: dict[str, Any], match: str
) -> None:
    reply = client.post(f"{MODEL}/infer", json=request(**changes))
    assert reply.status_code == 400
    assert list(reply.json()) == ["error"]
    assert match in reply.json()["error"]


@pytest.mark.parametrize(
    ("body", "status", "match"),
    [
        ([], 400, "no inference request"),
        ({**request(), "outputs": [{"name": NESTED}]}, 400, "no output an object"),
        (request(name=NESTED), 400, "inputs[0].name: expected 'image', got an object"),
        (request(data=[0.0] * 1567 + ["x" * 15_000]), 400, "where a number belongs"),
        ({}, 400, "a list of one object, the input 'image'"),
        ({"inputs": []}, 400, "a list of one object"),
        ({"inputs": request()["inputs"] * 2}, 400, "a list of one object"),
        ({**request(), "id": 7}, 400, "id: expected text"),
        ({**request(), "id": None}, 400, "id: expected text"),
        ({**request(), "parameters": []}, 400, "parameters: expected an object"),
        ({**request(), "outputs": [{"name": "logits"}]}, 400, "no output 'logits'"),
        ({**request(), "outputs": ["log_probabilities"]}, 400, "outputs: expected a list"),
        (request(shape=[0, 1, 28, 28], data=[]), 422, "shape (0, 1, 28, 28)"),
        (request(data=[1e9] * 1568), 422, "leaves their scale in doubt"),
    ],
)
def test_a_malformed_inference_request_is_refused(
    client: TestClient, body: object, status: int, match: str
) -> None:
    reply = client.post(
        f"{MODEL}/infer", content=json.dumps(body), headers={"content-type": "application/json"}
    )
    assert reply.status_code == status
    assert match in reply.json()["error"]


@pytest.mark.parametrize(
    "path",
    [
        "/v2/models/letters",
        "/v2/models/letters/ready",
        f"{MODEL}/versions/1",
        f"{MODEL}/versions/..%2f1",
        f"{MODEL}/versions/%2e%2e%2f1/ready",
        "/v2/models/%00",
        "/v2/models/caf%C3%A9",
        f"/v2/models/{'a' * 1000}",
        "/v2//models",
        "/v2/models/",
    ],
)
def test_another_name_or_version_is_not_found(client: TestClient, path: str) -> None:
    for reply in (client.get(path), client.post(f"{path}/infer", json=request())):
        assert reply.status_code == 404
        assert list(reply.json()) == ["error"]


def test_requests_are_counted_by_route_and_not_by_name(client: TestClient) -> None:
    client.get(MODEL)
    client.get("/v2/models/letters")
    client.post(f"{MODEL}/infer", json=request())
    lines = client.get("/metrics").text.splitlines()
    assert 'tuneport_requests_total{route="/v2/models/{name}",status="404"} 1.0' in lines
    assert 'tuneport_requests_total{route="/v2/models/{name}/infer",status="200"} 1.0' in lines
