"""A client of the application around a fake model."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from serve.http.app import create_app
from serve.rollout.registry import Registry
from serve.runtime.onnx_backend import OnnxBackend
from tests.support.fake_model import Fake


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(
        create_app(Registry(OnnxBackend(Fake()))), raise_server_exceptions=False
    ) as client:
        yield client
