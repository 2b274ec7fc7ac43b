"""Replacement of the current model while the application answers."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from serve.http.app import create_app
from serve.rollout.registry import Registry
from serve.runtime.onnx_backend import OnnxBackend
from serve.runtime.script_backend import ScriptBackend
from tests.support.fake_model import DIGITS, Fake
from tests.support.scripted import write_model

NEWER = replace(DIGITS, name="newer", version="ffffffffffff", labels=None)


def test_every_route_uses_the_current_model() -> None:
    registry = Registry(OnnxBackend(Fake()))
    client = TestClient(create_app(registry))
    image = np.full((28, 28), 200).tolist()
    assert client.get("/openapi.json").json()["info"]["version"] == DIGITS.version
    assert client.post("/endpoints/digits/invocations", json=image).status_code == 200

    assert registry.put(OnnxBackend(Fake(NEWER))).manifest == DIGITS

    reply = client.post("/endpoints/newer/invocations", json=image)
    assert reply.headers["x-model-version"] == NEWER.version
    assert client.post("/endpoints/digits/invocations", json=image).status_code == 400
    assert client.get("/model").json()["version"] == NEWER.version
    assert client.get("/").status_code == 404
    assert client.get("/openapi.json").json()["info"]["version"] == NEWER.version
    lines = [line for line in client.get("/metrics").text.splitlines() if "tuneport_model{" in line]
    assert lines == [f'tuneport_model{{name="newer",version="{NEWER.version}"}} 1.0']


@pytest.fixture
def script(tmp_path: Path) -> ScriptBackend:
    return ScriptBackend(write_model(tmp_path / "model"))


def test_a_script_replaces_a_network_and_closes_when_its_requests_have_ended(
    script: ScriptBackend,
) -> None:
    registry = Registry(OnnxBackend(Fake()))
    client = TestClient(create_app(registry))
    with script:
        registry.put(script)
        assert client.post("/invocations", content=b"as it comes").content == b"as it comes"
        assert set(
            client.get("/openapi.json").json()["paths"]["/predict"]["post"]["responses"]
        ) == {"404"}
        closing = threading.Thread(target=script.close, kwargs={"drain": True})
        with script.keep_open():
            closing.start()
            assert client.get("/ping").status_code == 200
            assert client.post("/invocations", content=b"still").content == b"still"
        closing.join()
        assert client.get("/ping").status_code == 503
