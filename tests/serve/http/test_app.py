"""The application in process, around a fake predictor: its routes, statuses and texts."""

import base64
import gzip
import io
import json
import re
import textwrap
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from numpy.typing import NDArray
from starlette.routing import Route
from starlette.testclient import TestClient

from serve.formats.drawing import read_picture
from serve.http.app import create_app
from serve.http.body import INLINE_BYTES
from serve.http.invocation import VARIANT
from serve.models.artifact import TensorSpec
from serve.rollout.registry import Registry
from serve.runtime.batcher import LOOP_SECONDS
from serve.runtime.onnx_backend import OnnxBackend
from serve.settings import MAX_BODY_BYTES, Settings
from tests.support.fake_model import CSV, DIGITS, JSON, NPY, PNG, Fake, Floats, image, npy, png

compress = partial(gzip.compress, mtime=0)
"""Gives the same bytes whenever it is asked."""


def csv(array: NDArray[np.generic]) -> bytes:
    return b"\n".join(b",".join(b"%g" % x for x in row.ravel()) for row in array)


BODIES = {
    JSON: lambda images: json.dumps(images.tolist()).encode(),
    CSV: csv,
    NPY: npy,
}


# --- /invocations


@pytest.mark.parametrize("path", ["/invocations", "/endpoints/digits/invocations"])
@pytest.mark.parametrize("sent", BODIES)
@pytest.mark.parametrize("accept", BODIES)
def test_every_content_type_is_answered_in_every_type(
    client: TestClient, path: str, sent: str, accept: str
) -> None:
    images = np.stack([image(digit) for digit in (3, 7, 1)])
    headers = {"content-type": sent, "accept": accept}
    reply = client.post(path, content=BODIES[sent](images), headers=headers)
    assert reply.status_code == 200
    assert reply.headers["content-type"] == accept
    assert reply.headers["x-model-version"] == "0123456789ab"
    assert reply.headers["x-input-scale"] == "0-255"
    assert read(reply.content, accept).argmax(axis=1).tolist() == [3, 7, 1]


def read(body: bytes, kind: str) -> NDArray[Any]:
    if kind == NPY:
        return np.asarray(np.load(io.BytesIO(body), allow_pickle=False))
    if kind == CSV:
        return np.array([line.split(b",") for line in body.splitlines()], dtype=float)
    return np.array(json.loads(body))


def test_json_is_the_default_answer_and_instances_are_accepted(client: TestClient) -> None:
    reply = client.post("/invocations", json={"instances": [image(5).tolist()]})
    assert reply.headers["content-type"] == JSON
    assert np.array(reply.json()).shape == (1, 10)


@pytest.mark.parametrize(
    ("numbers", "scale"),
    [
        (image(4), "0-255"),
        (image(4) / 255, "0-1"),
        ((image(4, other=0) / 255 - 0.1307) / 0.3081, "normalised"),
    ],
)
def test_the_scale_is_recognised_and_named_in_a_header(
    client: TestClient, numbers: NDArray[np.float64], scale: str
) -> None:
    reply = client.post("/invocations", content=npy(numbers), headers={"content-type": NPY})
    assert reply.headers["x-input-scale"] == scale


def test_a_large_body_is_answered_like_a_small_one(client: TestClient) -> None:
    images = np.stack([image(i % 10) for i in range(200)]).astype(np.uint8)
    body = npy(images)
    assert len(body) > INLINE_BYTES
    reply = client.post("/invocations", content=body, headers={"content-type": NPY})
    assert np.array(reply.json()).argmax(axis=1).tolist() == [i % 10 for i in range(200)]


REFUSALS = [
    (b"", JSON, None, 400, "the body is empty"),
    (b"[1, 2", JSON, None, 400, "not JSON"),
    (b'["seven"]', JSON, None, 400, '"seven" where a number belongs'),
    (b"\x80\x04K\x01.", NPY, None, 400, "not an NPY file"),
    (b"[1]", JSON, "image/gif", 406, "accept application/json, text/csv or application/x-npy"),
    (b"[1]", "text/plain", None, 415, "send application/json, text/csv or application/x-npy"),
    (b"[1]", None, None, 415, "no Content-Type"),
    (b"[1]", JSON, None, 422, r"the input has shape \(1,\), expected"),
    (b"[NaN]", JSON, None, 422, "NaN where a finite number belongs"),
    (npy(np.full((28, 28), 256.0)), NPY, None, 422, "which leaves their scale in doubt"),
    (npy(np.full((28, 28), np.nan)), NPY, None, 422, "NaN or infinity"),
]


def headers_of(kind: str | None, accept: str | None) -> dict[str, str]:
    headers = {"content-type": kind, "accept": accept}
    return {name: value for name, value in headers.items() if value is not None}


@pytest.mark.parametrize(("body", "kind", "accept", "status", "text"), REFUSALS)
def test_a_refusal_is_one_sentence(
    client: TestClient, body: bytes, kind: str | None, accept: str | None, status: int, text: str
) -> None:
    reply = client.post("/invocations", content=body, headers=headers_of(kind, accept))
    assert reply.status_code == status
    assert reply.headers["content-type"] == JSON
    assert list(reply.json()) == ["error"]
    assert re.search(text, reply.json()["error"])


@pytest.mark.parametrize(("body", "kind", "accept", "status", "text"), REFUSALS)
def test_the_alias_refuses_as_sagemaker_does(
    client: TestClient, body: bytes, kind: str | None, accept: str | None, status: int, text: str
) -> None:
    path = "/endpoints/digits/invocations"
    reply = client.post(path, content=body, headers=headers_of(kind, accept))
    assert reply.status_code == 424
    assert reply.headers["x-amzn-errortype"] == "ModelError"
    assert set(reply.json()) == {"Message", "OriginalStatusCode", "OriginalMessage", "LogStreamArn"}
    assert reply.json()["OriginalStatusCode"] == status
    assert re.search(text, reply.json()["OriginalMessage"])
    assert reply.json()["Message"].startswith(f"Received client error ({status}) from primary with")


def test_an_unknown_endpoint_is_a_validation_error(client: TestClient) -> None:
    reply = client.post("/endpoints/letters/invocations", json=[1])
    assert reply.status_code == 400
    assert reply.headers["x-amzn-errortype"] == "ValidationError"
    assert reply.json() == {"Message": "Endpoint letters not found; digits is served here."}


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("target-variant", "variant"),
        ("target-model", "model"),
        ("target-container-hostname", "container"),
        ("inference-component", "inference component"),
    ],
)
def test_a_part_that_the_endpoint_lacks_is_a_validation_error(
    client: TestClient, header: str, part: str
) -> None:
    path, headers = "/endpoints/digits/invocations", {f"x-amzn-sagemaker-{header}": "nope"}
    reply = client.post(path, json=image(1).tolist(), headers=headers)
    assert reply.status_code == 400
    assert reply.headers["x-amzn-errortype"] == "ValidationError"
    assert reply.json() == {
        "Message": f"Endpoint digits has no {part} 'nope'; it is one model, whose variant is "
        "AllTraffic."
    }


def test_the_only_variant_can_be_named(client: TestClient) -> None:
    path, headers = "/endpoints/digits/invocations", {"x-amzn-sagemaker-target-variant": VARIANT}
    assert client.post(path, json=image(1).tolist(), headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/invocations", "/predict", "/endpoints/digits/invocations"])
@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip"])
def test_a_body_may_be_compressed(client: TestClient, path: str, encoding: str) -> None:
    body = json.dumps([image(7).tolist()]).encode()
    headers = {"content-type": JSON, "content-encoding": encoding}
    reply = client.post(path, content=compress(body), headers=headers)
    assert reply.json() == client.post(path, content=body, headers={"content-type": JSON}).json()


@pytest.mark.parametrize(
    ("body", "encoding", "status", "text"),
    [
        (b"[1]", "br", 415, "content encoding 'br' is not supported; send gzip"),
        (b"[1]", "gzip, gzip", 415, "content encoding 'gzip, gzip'"),
        (b"[1]", "gzip", 400, "no gzip, or damaged"),
        (b"", "gzip", 400, "cut off"),
        (compress(b"[1]")[:-1], "gzip", 400, "cut off"),
        (compress(b"[1]") + b"x", "gzip", 400, "more after the end"),
        (
            compress(bytes(MAX_BODY_BYTES + 1)),
            "gzip",
            413,
            "at most 6291456 bytes decompr",
        ),
        (
            compress(b" " * (MAX_BODY_BYTES - 3) + b"[1]"),
            "gzip",
            422,
            "the input has shape",
        ),
    ],
)
def test_a_compressed_body_is_refused_in_one_sentence(
    client: TestClient, body: bytes, encoding: str, status: int, text: str
) -> None:
    headers = {"content-type": JSON, "content-encoding": encoding}
    reply = client.post("/invocations", content=body, headers=headers)
    assert reply.status_code == status
    assert text in reply.json()["error"]


ROUTES_OF_NUMBERS: dict[str, Callable[[list[float]], object]] = {
    "/invocations": lambda numbers: numbers,
    "/predict": lambda numbers: {"instances": numbers},
    "/endpoints/digits/invocations": lambda numbers: numbers,
    "/v2/models/digits/infer": lambda numbers: {
        "inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 1, 28, 28], "data": numbers}]
    },
}


@pytest.mark.parametrize("path", ROUTES_OF_NUMBERS)
@pytest.mark.parametrize(
    ("scale", "status", "text"),
    [
        ("0-1", 200, ""),
        ("normalised", 200, ""),
        ("0-255", 200, ""),
        (None, 422, "the header x-input-scale: 0-1, 0-255 or normalised"),
        ("0-2", 400, "x-input-scale: expected 0-1, 0-255 or normalised, got '0-2'"),
        ("", 400, "got ''"),
    ],
)
def test_every_route_of_numbers_takes_the_declared_scale(
    client: TestClient, path: str, scale: str | None, status: int, text: str
) -> None:
    body = ROUTES_OF_NUMBERS[path](np.resize([7 / 255, 1.00001], 784).tolist())
    headers = {} if scale is None else {"x-input-scale": scale}
    reply = client.post(path, json=body, headers=headers)
    assert reply.status_code in (status, 424)
    assert reply.status_code != 424 or reply.json()["OriginalStatusCode"] == status
    assert text in reply.text
    assert reply.headers.get("x-input-scale") == (scale if status == 200 else None)


def test_images_of_different_scales_are_mixed(client: TestClient) -> None:
    body = [image(7).tolist(), (image(3) / 255).tolist()]
    reply = client.post("/predict", json={"instances": body})
    assert reply.headers["x-input-scale"] == "mixed"
    assert [found["label"] for found in reply.json()["predictions"]] == ["7", "3"]


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json; charset=UTF-8", 200),
        ("application/json; charset=us-ascii", 200),
        ("application/json; charset=punycode", 415),
        ('application/json; charset="utf-16"', 415),
        ("application/json; charset=latin-1", 415),
    ],
)
def test_texts_are_utf_8(client: TestClient, kind: str, status: int) -> None:
    body = json.dumps(image(1).tolist()).encode()
    reply = client.post("/invocations", content=body, headers={"content-type": kind})
    assert reply.status_code == status
    assert status == 200 or "is not read; send utf-8" in reply.json()["error"]


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        ("/predict", png(image(6).astype(np.uint8)), "add -H 'content-type: image/png'"),
        ("/predict", b"\xff\xd8\xff\xe0", "add -H 'content-type: image/jpeg'"),
        ("/predict", b' {"instances": [1]}', "add -H 'content-type: application/json'"),
        ("/invocations", npy(image(1)), "add -H 'content-type: application/x-npy'"),
        ("/invocations", b"1,2", "add -H 'content-type: text/csv'"),
        ("/invocations", png(image(6).astype(np.uint8)), "looks like image/png, which is not read"),
        ("/v2/models/digits/infer", b"{}", "send application/json"),
    ],
)
def test_curls_own_type_is_told_from_the_right_one(
    client: TestClient, path: str, body: bytes, text: str
) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    reply = client.post(path, content=body, headers=headers)
    assert reply.status_code == 415
    assert text in reply.json()["error"]


def test_a_file_inside_npy_is_told_by_its_bytes(client: TestClient) -> None:
    body = npy(np.frombuffer(b"\xff\xd8\xff\xe0" + bytes(500), np.uint8))
    reply = client.post("/invocations", content=body, headers={"content-type": NPY})
    assert reply.status_code == 422
    assert reply.json()["error"].startswith("these are a JPEG's bytes; send the file itself to")


def test_an_internal_error_shows_no_detail(client: TestClient) -> None:
    for path, status in (("/invocations", 500), ("/endpoints/digits/invocations", 424)):
        reply = client.post(path, json=image(99).tolist())
        assert reply.status_code == status
        assert "the server failed on this request" in reply.text
        assert "secret" not in reply.text
    assert client.post("/invocations", json=image(1).tolist()).status_code == 200


def test_outputs_that_are_not_finite_are_a_failure() -> None:
    class Broken(Fake):
        def predict(self, pixels: Floats) -> Floats:
            return super().predict(pixels) * np.float32(np.nan)

    client = TestClient(create_app(Registry(OnnxBackend(Broken()))), raise_server_exceptions=False)
    assert client.post("/invocations", json=image(1).tolist()).status_code == 500


# --- /predict


def test_predict_names_the_label_and_all_probabilities(client: TestClient) -> None:
    reply = client.post("/predict", json={"instances": [image(3).tolist(), image(8).tolist()]})
    assert reply.status_code == 200
    assert reply.headers["x-model-version"] == "0123456789ab"
    assert reply.headers["x-input-scale"] == "0-255"
    body = reply.json()
    assert body["model"] == {"name": "digits", "version": "0123456789ab"}
    assert [found["label"] for found in body["predictions"]] == ["3", "8"]
    for found in body["predictions"]:
        assert sum(found["probabilities"]) == pytest.approx(1)
        assert found["probability"] == max(found["probabilities"]) == pytest.approx(1, abs=1e-6)


def test_predict_takes_pixels_and_drawings_as_png(client: TestClient) -> None:
    headers = {"content-type": PNG}
    pixels = client.post("/predict", content=png(image(6).astype(np.uint8)), headers=headers)
    assert pixels.json()["predictions"][0]["label"] == "6"
    drawn = np.full((100, 100), 255, dtype=np.uint8)
    drawn[20:80, 45:55] = 0
    drawing = client.post("/predict", content=png(drawn), headers=headers)
    assert drawing.json()["predictions"][0]["label"] == "0"
    assert drawing.headers["x-input-scale"] == "0-255"


@pytest.mark.parametrize(
    ("body", "kind", "status", "text"),
    [
        (b"", PNG, 400, "empty"),
        (b"no image", PNG, 400, "not a PNG, JPEG or WebP image"),
        (b"no image", "image/webp", 400, "not a PNG, JPEG or WebP image"),
        (png(np.zeros((28, 28), np.uint8)), PNG, 422, "nothing drawn: the image is blank"),
        (json.dumps([0] * 784).encode(), JSON, 422, "nothing drawn: the image is blank"),
        (json.dumps([[1] * 784, [0] * 784]).encode(), JSON, 422, "nothing drawn: image 2 is blank"),
        (json.dumps([-0.1307 / 0.3081] * 784).encode(), JSON, 422, "the image is blank"),
        (png(np.full((50, 50), 255, dtype=np.uint8)), PNG, 422, "nothing drawn"),
        (png(np.zeros((1, 1025), dtype=np.uint8)), PNG, 422, "the image is 1025 by 1"),
        (b"1,2", CSV, 415, "image/jpeg, image/webp or multipart/form-data"),
        (b"{}", JSON, 400, 'no "instances"'),
    ],
)
def test_predict_refuses_in_one_sentence(
    client: TestClient, body: bytes, kind: str, status: int, text: str
) -> None:
    reply = client.post("/predict", content=body, headers={"content-type": kind})
    assert reply.status_code == status
    assert text in reply.json()["error"]


def test_predict_returns_the_models_input_on_request(
    client: TestClient,
) -> None:
    drawn = np.full((60, 90), 255, dtype=np.uint8)
    drawn[20:40, 10:25] = 0
    headers = {"content-type": PNG}
    answer = client.post("/predict?with_input=true", content=png(drawn), headers=headers).json()
    plain = client.post("/predict?with_input=false", content=png(drawn), headers=headers).json()
    returned = np.array(answer["predictions"][0].pop("input"))
    assert answer == plain
    assert np.array_equal(returned, read_picture(png(drawn))[None])
    scaled = {"instances": [(image(3) / 255).tolist(), (image(8) / 255).tolist()]}
    predictions = client.post("/predict?with_input=true", json=scaled).json()["predictions"]
    assert np.array([prediction["input"] for prediction in predictions]) == pytest.approx(
        np.stack([image(3), image(8)])[:, None], abs=1e-4
    )


DIGIT = png(image(6).astype(np.uint8))
ENCODED = base64.b64encode(DIGIT).decode()


@pytest.mark.parametrize(
    "text",
    [ENCODED, f"data:image/png;base64,{ENCODED}", "\n".join(textwrap.wrap(ENCODED, 76)) + "\n"],
    ids=["base64", "data URL", "in lines"],
)
def test_predict_takes_a_picture_in_json(client: TestClient, text: str) -> None:
    reply = client.post("/predict", json={"image": text})
    assert reply.status_code == 200, reply.text
    assert reply.json()["predictions"][0]["label"] == "6"


def test_predict_takes_pictures_as_instances(client: TestClient) -> None:
    three = base64.b64encode(png(image(3).astype(np.uint8))).decode()
    body = {"instances": [ENCODED, f"data:image/png;base64,{three}"]}
    reply = client.post("/predict", json=body)
    assert [found["label"] for found in reply.json()["predictions"]] == ["6", "3"]


def form(*files: bytes, end: bytes = b"--x--\r\n") -> bytes:
    head = b'--x\r\ncontent-disposition: form-data; name="file"; filename="digit.png"\r\n\r\n'
    return b"".join(head + file + b"\r\n" for file in files) + end


def test_predict_takes_a_form_with_a_file(client: TestClient) -> None:
    headers = {"content-type": "multipart/form-data; boundary=x"}
    reply = client.post("/predict", content=form(DIGIT), headers=headers)
    assert reply.json()["predictions"][0]["label"] == "6"


@pytest.mark.parametrize(
    ("body", "kind", "status", "text"),
    [
        (b'{"image": 7}', JSON, 400, '"image" is 7; send a data URL or base64'),
        (b'{"image": {"a": []}}', JSON, 400, '"image" is an object'),
        (b'{"image": "seven!"}', JSON, 400, '"image" is no base64'),
        (b'{"image": "c2V2ZW4="}', JSON, 400, "not a PNG, JPEG or WebP image"),
        (b'{"image": "data:image/png,x"}', JSON, 400, "no data URL in base64"),
        (b'{"image": ""}', JSON, 400, "the body is empty"),
        (b'{"instances": ["seven!"]}', JSON, 400, "instance 1 is no base64"),
        (b'{"instances": ["c2V2ZW4=", 7]}', JSON, 400, "instance 2 is 7; send a data URL"),
        (json.dumps({"instances": [""] * 65}).encode(), JSON, 413, "65 pictures, of at most 64"),
        (form(DIGIT, DIGIT), "multipart/form-data; boundary=x", 422, "several parts"),
        (form(), "multipart/form-data; boundary=x", 400, "has no part"),
        (form(DIGIT, end=b""), "multipart/form-data; boundary=x", 400, "cut off"),
        (form(DIGIT), "multipart/form-data; boundary=y", 400, "does not match its boundary"),
        (form(DIGIT), "multipart/form-data", 400, "has no boundary"),
        (form(b"seven"), "multipart/form-data; boundary=x", 400, "not a PNG, JPEG or WebP"),
    ],
)
def test_predict_refuses_what_holds_no_picture(
    client: TestClient, body: bytes, kind: str, status: int, text: str
) -> None:
    reply = client.post("/predict", content=body, headers={"content-type": kind})
    assert (reply.status_code, list(reply.json())) == (status, ["error"])
    assert text in reply.json()["error"]


def test_a_dark_picture_is_in_pixels_and_a_declared_scale_is_checked(client: TestClient) -> None:
    dark = np.zeros((28, 28), np.uint8)
    dark[0, 0] = 1
    headers = {"content-type": PNG, "x-input-scale": "0-1"}
    reply = client.post("/predict", content=png(dark), headers=headers)
    assert reply.json()["predictions"][0]["label"] == "1"
    assert reply.headers["x-input-scale"] == "0-255"
    headers["x-input-scale"] = "wrong"
    assert client.post("/predict", content=png(dark), headers=headers).status_code == 400


def test_predict_refuses_other_values_of_with_input(client: TestClient) -> None:
    reply = client.post("/predict?with_input=yes", json={"instances": [image(3).tolist()]})
    assert (reply.status_code, reply.json()) == (
        400,
        {"error": "with_input is true or false, not 'yes'"},
    )


def test_predict_gives_only_json(client: TestClient) -> None:
    body = {"instances": [image(1).tolist()]}
    assert client.post("/predict", json=body, headers={"accept": CSV}).status_code == 406


# --- Models that are no digits


@pytest.fixture
def rows() -> TestClient:
    inputs = (TensorSpec("row", "float32", (-1, 4)),)
    return TestClient(
        create_app(Registry(OnnxBackend(Fake(replace(DIGITS, inputs=inputs, labels=None)))))
    )


def test_a_model_of_rows_has_no_page_and_takes_no_images(rows: TestClient) -> None:
    assert rows.get("/").status_code == 404
    assert rows.get("/").json() == {
        "error": "this model takes no drawings, but inputs of shape (N, 4); /docs says how to ask"
    }
    described = rows.get("/openapi.json")
    assert "Inputs have shape (N, 4)" in described.json()["info"]["description"]
    assert "/" not in described.json()["paths"]
    for word in ("pixel", "image", "drawing", "x-input-scale"):
        assert word not in described.text
    reply = rows.post("/predict", content=b"x", headers={"content-type": PNG})
    assert (reply.status_code, reply.json()["error"][-21:]) == (415, "send application/json")


def test_a_model_without_labels_gives_its_outputs_by_name(rows: TestClient) -> None:
    reply = rows.post("/predict", json={"instances": [[1, 2, 3, 4], [0, 2, 3, 4]]})
    first, second = reply.json()["predictions"]
    assert list(first) == ["outputs"]
    (output,) = second["outputs"]
    assert output == {"name": "log_probabilities", "values": [0.0, *[-20.0] * 9]}
    assert reply.json()["model"] == {"name": "digits", "version": DIGITS.version}


def test_a_model_without_a_range_names_no_scale(rows: TestClient) -> None:
    reply = rows.post("/invocations", json=[[3, -500, 0, 0]])
    assert np.array(reply.json()).argmax() == 3
    assert "x-input-scale" not in reply.headers


# --- Metadata


def test_ping_model_and_metrics(client: TestClient) -> None:
    assert client.get("/ping").status_code == 200
    model = client.get("/model").json()
    assert (model["name"], model["version"], model["format"]) == ("digits", "0123456789ab", "onnx")
    assert "golden" not in model
    client.post("/invocations", json=[image(1).tolist()] * 3)
    client.get("/no/such/route")
    lines = client.get("/metrics").text.splitlines()
    assert 'tuneport_requests_total{route="/invocations",status="200"} 1.0' in lines
    assert 'tuneport_requests_total{route="other",status="404"} 1.0' in lines
    assert 'tuneport_model{name="digits",version="0123456789ab"} 1.0' in lines
    assert "tuneport_inputs_total 3.0" in lines


def test_the_page_and_what_it_loads_are_served(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<style" not in page.text
    assert re.search(r"\son\w+=|style=", page.text) is None
    check_references(client, page.text)


def test_swagger_ui_needs_no_internet(client: TestClient) -> None:
    docs = client.get("/docs")
    assert docs.status_code == 200
    assert "http" not in docs.text
    check_references(client, docs.text)


def check_references(client: TestClient, html: str) -> None:
    references = re.findall(r'(?:src|href)="([^":]*)"', html)
    assert references
    for reference in references:
        assert not reference.startswith("/")  # Below a prefix, it would lead elsewhere.
        reply = client.get(f"/{reference}")
        assert reply.status_code == 200, reference


def test_files_of_the_page_are_revalidated_and_nothing_else_is_served(client: TestClient) -> None:
    reply = client.get("/page/page.js")
    assert reply.headers["content-type"].startswith("text/javascript")
    assert (reply.headers["cache-control"], reply.headers["x-content-type-options"]) == (
        "no-cache",
        "nosniff",
    )
    again = client.get("/page/page.js", headers={"if-none-match": reply.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.head("/page/page.js").status_code == 200
    for path in ("/page/", "/page/routes.py", "/page/../routes.py", "/docs/nothing.js"):
        refused = client.get(path)
        assert (refused.status_code, list(refused.json())) == (404, ["error"])
    assert client.post("/page/page.js").status_code == 405


def test_openapi_has_every_route_with_its_methods() -> None:
    app: FastAPI = create_app(Registry(OnnxBackend(Fake())))
    described = {
        (path, method.upper())
        for path, operations in app.openapi()["paths"].items()
        for method in operations
    }
    hidden = {"/openapi.json", "/docs"}
    routes = {
        (route.path, method)
        for route in app.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
        if route.path not in hidden and not route.path.startswith(("/docs/", "/page/"))
    }
    assert described == routes
    assert len(described) == 19


def test_openapi_describes_the_bodies(client: TestClient) -> None:
    description = client.get("/openapi.json").json()
    assert description["openapi"] == "3.0.3"
    predict = description["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert set(predict) == {JSON, PNG, "image/jpeg", "image/webp", "multipart/form-data"}
    invoke = description["paths"]["/invocations"]["post"]
    assert set(invoke["requestBody"]["content"]) == {JSON, CSV, NPY}
    refusals = {"400", "406", "413", "415", "422", "503", "504"}
    assert set(invoke["responses"]) == {"200", *refusals}
    assert set(predict[JSON]["schema"]["properties"]) == {"instances", "image"}
    assert invoke["parameters"] == [{"$ref": "#/components/parameters/input_scale"}]
    scale = description["components"]["parameters"]["input_scale"]
    assert scale["schema"]["enum"] == ["0-1", "normalised", "0-255"]
    example = predict[JSON]["example"]
    assert client.post("/predict", json=example).status_code == 200


# --- Errors of every route


def test_instances_given_twice_are_refused(client: TestClient) -> None:
    body = b'{"instances": [1], "instances": [2]}'
    reply = client.post("/invocations", content=body, headers={"content-type": JSON})
    assert (reply.status_code, reply.json()) == (
        400,
        {"error": 'the body has "instances" more than once'},
    )


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/no/such/route", 404),
        ("GET", "/ping/", 404),
        ("POST", "/models/digits/invoke", 404),
        ("GET", "/invocations", 405),
        ("DELETE", "/predict", 405),
        ("POST", "/ping", 405),
    ],
)
def test_the_frameworks_own_errors_are_one_sentence_too(
    client: TestClient, method: str, path: str, status: int
) -> None:
    reply = client.request(method, path)
    assert reply.status_code == status
    assert list(reply.json()) == ["error"]
    assert path in reply.json()["error"]
    assert ("allow" in reply.headers) == (status == 405)


class Slow(Fake):
    """Takes more of the processor than the event loop has to give, and notes its threads."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[str] = []

    def predict(self, pixels: Floats) -> Floats:
        self.threads.append(threading.current_thread().name)
        until = time.thread_time() + 2 * LOOP_SECONDS
        while time.thread_time() < until:
            pass
        return super().predict(pixels)


def test_a_slow_network_leaves_the_event_loop_to_others() -> None:
    slow = Slow()
    with TestClient(create_app(Registry(OnnxBackend(slow)))) as client:
        reply = client.post("/invocations", json=[image(3).tolist()])
    assert reply.status_code == 200
    assert slow.threads[-1].startswith("AnyIO worker thread")


@pytest.mark.parametrize("prefix", ["", "/team/digits"])
def test_a_root_path_is_served_with_and_without_it(prefix: str) -> None:
    settings = Settings(root_path="/team/digits")
    client = TestClient(create_app(Registry(OnnxBackend(Fake())), settings=settings))
    assert client.get(f"{prefix}/ping").status_code == 200
    reply = client.post(f"{prefix}/invocations", json=image(1).tolist())
    assert reply.status_code == 200
    alias = client.post(f"{prefix}/endpoints/other/invocations", json=image(1).tolist())
    assert alias.json()["Message"].startswith("Endpoint other not found")
    assert client.get(f"{prefix}/openapi.json").json()["servers"] == [{"url": "./"}]
    assert client.get(f"{prefix}/no").status_code == 404
    assert client.get(f"{prefix}/team/digits/ping").status_code == (404 if prefix else 200)
