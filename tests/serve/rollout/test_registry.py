"""One model in the place of another while the application goes on."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from serve.http.app import create_app
from serve.rollout.registry import Model, Registry
from serve.runtime.script_backend import ModelProcess
from tests.support.fake_model import DIGITS, Fake
from tests.support.scripted import write_model

NEWER = replace(DIGITS, name="newer", version="ffffffffffff", labels=None)


def test_every_route_tells_of_the_model_of_now() -> None:
    registry = Registry(Model.of(Fake()))
    client = TestClient(create_app(registry))
    image = np.full((28, 28), 200).tolist()
    assert client.get("/openapi.json").json()["info"]["version"] == DIGITS.version
    assert client.post("/endpoints/digits/invocations", json=image).status_code == 200

    assert registry.put(Model.of(Fake(NEWER))).manifest == DIGITS

    reply = client.post("/endpoints/newer/invocations", json=image)
    assert reply.headers["x-model-version"] == NEWER.version
    assert client.post("/endpoints/digits/invocations", json=image).status_code == 400
    assert client.get("/model").json()["version"] == NEWER.version
    assert client.get("/").status_code == 404
    assert client.get("/openapi.json").json()["info"]["version"] == NEWER.version
    lines = [line for line in client.get("/metrics").text.splitlines() if "tuneport_model{" in line]
    assert lines == [f'tuneport_model{{name="newer",version="{NEWER.version}"}} 1.0']


@pytest.fixture
def process(tmp_path: Path) -> ModelProcess:
    return ModelProcess(write_model(tmp_path / "model"))


def test_handlers_take_the_place_of_a_network_and_retire_when_nobody_holds_them(
    process: ModelProcess,
) -> None:
    registry = Registry(Model.of(Fake()))
    client = TestClient(create_app(registry))
    with process:
        registry.put(Model.of(process))
        assert client.post("/invocations", content=b"as it comes").content == b"as it comes"
        assert set(
            client.get("/openapi.json").json()["paths"]["/predict"]["post"]["responses"]
        ) == {"404"}
        retiring = threading.Thread(target=process.retire)
        with process.held():
            retiring.start()
            assert client.get("/ping").status_code == 200
            assert client.post("/invocations", content=b"still").content == b"still"
        retiring.join()
        assert client.get("/ping").status_code == 503
