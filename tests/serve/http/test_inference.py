"""The routes of a model that answers by its own handlers, around a process that is a real one."""

import gzip
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from serve.http.app import create_app
from serve.rollout.registry import Registry
from serve.runtime.script_backend import ScriptBackend
from serve.settings import MAX_BODY_BYTES
from tests.support.scripted import write_model

PATHS = ["/invocations", "/endpoints/mine/invocations"]
SCRIPT = """
import os
from sagemaker_inference.errors import BaseInferenceToolkitError, UnsupportedFormatError

def model_fn(model_dir):
    return "model"

def transform_fn(model, body, content_type, accept, context):
    if content_type == "text/die":
        os._exit(1)
    if content_type == "text/fail":
        raise KeyError("a secret", "Traceback")
    if content_type == "text/choose":
        raise BaseInferenceToolkitError(409, "choose otherwise", "Conflict")
    if content_type == "text/unknown":
        raise UnsupportedFormatError(content_type)
    attributes = "X-Amzn-SageMaker-Custom-Attributes"
    context.set_response_header(0, attributes, context.get_request_header(0, attributes) or "none")
    context.set_response_header(0, "set-cookie", "a=b")
    return body, content_type
"""


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScriptBackend]:
    with ScriptBackend(write_model(tmp_path_factory.mktemp("mine") / "model", SCRIPT)) as process:
        yield process


@pytest.fixture
def client(process: ScriptBackend) -> Iterator[TestClient]:
    process.wait_until_loaded()
    with TestClient(create_app(Registry(process)), raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["application/octet-stream", "x/known-to-the-script; a=b", None])
def test_handlers_get_bodies_unchanged(
    client: TestClient, process: ScriptBackend, path: str, kind: str | None
) -> None:
    body = os.urandom(1000)
    headers = {} if kind is None else {"content-type": kind}
    reply = client.post(path, content=body, headers=headers)
    assert (reply.status_code, reply.content) == (200, body)
    assert reply.headers["content-type"] == (kind or "application/json")
    assert reply.headers["x-model-version"] == process.manifest.version
    assert "x-input-scale" not in reply.headers


def test_custom_attributes_pass_both_ways_and_no_other_header(client: TestClient) -> None:
    headers = {"X-Amzn-SageMaker-Custom-Attributes": "trace=7"}
    reply = client.post("/invocations", content=b"x", headers=headers)
    assert reply.headers["x-amzn-sagemaker-custom-attributes"] == "trace=7"
    assert "set-cookie" not in reply.headers
    assert reply.headers["x-content-type-options"] == "nosniff"


REFUSALS = [
    ("text/fail", 500, "transform_fn failed: KeyError: "),
    ("text/choose", 409, "choose otherwise"),
    ("text/unknown", 415, "Content type text/unknown is not supported by this framework."),
]


@pytest.mark.parametrize(("kind", "status", "text"), REFUSALS)
def test_a_refusal_is_one_sentence(client: TestClient, kind: str, status: int, text: str) -> None:
    reply = client.post("/invocations", content=b"x", headers={"content-type": kind})
    assert reply.status_code == status
    assert list(reply.json()) == ["error"]
    assert reply.json()["error"].startswith(text)
    assert "File " not in reply.text


@pytest.mark.parametrize(("kind", "status", "text"), REFUSALS)
def test_the_alias_refuses_as_sagemaker_does(
    client: TestClient, kind: str, status: int, text: str
) -> None:
    path = "/endpoints/mine/invocations"
    reply = client.post(path, content=b"x", headers={"content-type": kind})
    assert reply.status_code == 424
    assert reply.headers["x-amzn-errortype"] == "ModelError"
    assert reply.json()["OriginalStatusCode"] == status
    assert reply.json()["OriginalMessage"].startswith(text)


def test_a_request_that_kills_the_handlers_gets_500_and_they_restart(
    client: TestClient, process: ScriptBackend
) -> None:
    reply = client.post("/invocations", content=b"x", headers={"content-type": "text/die"})
    assert reply.status_code == 500
    assert reply.json()["error"].endswith("it is restarted")
    process.wait_until_loaded()
    assert client.post("/invocations", content=b"x").content == b"x"
    assert client.get("/ping").status_code == 200


def test_until_the_model_is_loaded_nothing_is_ready(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    script = f"def model_fn(model_dir): return open({str(tmp_path / 'gate')!r}).read()"
    process = ScriptBackend(write_model(tmp_path / "model", script))
    process.start()
    client = TestClient(create_app(Registry(process)))
    for reply in (client.get("/ping"), client.post("/invocations", content=b"x")):
        assert reply.status_code == 503
        assert reply.json() == {"error": "the model is being loaded"}
        assert reply.headers["retry-after"] == "1"
    reply = client.post("/endpoints/mine/invocations", content=b"x")
    assert (reply.status_code, reply.json()) == (503, {"Message": "the model is being loaded"})
    assert reply.headers["x-amzn-errortype"] == "ServiceUnavailable"
    assert client.get("/model").status_code == 200
    (tmp_path / "gate").write_text("go")
    process.wait_until_loaded()
    assert client.get("/ping").status_code == 200
    process.close()
    assert client.get("/ping").json() == {"error": "the model's process was ended"}


def test_a_model_that_does_not_load_says_why(tmp_path: Path) -> None:
    process = ScriptBackend(write_model(tmp_path / "model", "def model_fn(model_dir): 1 / 0"))
    process.start()
    with pytest.raises(Exception, match="model_fn failed"):
        process.wait_until_loaded()
    reply = TestClient(create_app(Registry(process))).get("/ping")
    assert reply.status_code == 503
    assert reply.json() == {"error": "model_fn failed: ZeroDivisionError: division by zero"}
    process.close()


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("POST", "/predict")])
def test_a_model_with_handlers_has_no_page_and_no_predictions(
    client: TestClient, method: str, path: str
) -> None:
    reply = client.request(method, path, content=b"x", headers={"content-type": "image/png"})
    assert reply.status_code == 404
    assert re.match("this model (takes no drawings|answers by handlers)", reply.json()["error"])


def test_limits_on_bodies_hold_for_handlers(client: TestClient) -> None:
    reply = client.post("/invocations", content=b"0" * (MAX_BODY_BYTES + 1))
    assert reply.status_code == 413
    for encoding, status in (("gzip", 400), ("br", 415)):
        reply = client.post("/invocations", content=b"x", headers={"content-encoding": encoding})
        assert reply.status_code == status
    bomb = gzip.compress(bytes(MAX_BODY_BYTES + 1))
    reply = client.post("/invocations", content=bomb, headers={"content-encoding": "gzip"})
    assert reply.status_code == 413
    body = gzip.compress(b"plain")
    reply = client.post("/invocations", content=body, headers={"content-encoding": "gzip"})
    assert reply.content == b"plain"
    reply = client.post("/endpoints/other/invocations", content=b"x")
    assert (reply.status_code, reply.headers["x-amzn-errortype"]) == (400, "ValidationError")


def test_metadata_describes_a_model_with_handlers(
    client: TestClient, process: ScriptBackend
) -> None:
    model = client.get("/model").json()
    assert (model["format"], model["entry_point"], model["inputs"]) == ("handlers", "train.py", [])
    assert set(model["sha256"]) == {"code/train.py"}
    client.post("/invocations", content=b"x")
    lines = client.get("/metrics").text.splitlines()
    assert 'tuneport_requests_total{route="/invocations",status="200"} 1.0' in lines
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/invocations", "/ping", "/predict", "/endpoints/{name}/invocations"} < set(paths)
    assert set(paths["/invocations"]["post"]["requestBody"]["content"]) == {"*/*"}
