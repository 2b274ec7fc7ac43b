"""Limits on the size of bodies."""

import pytest
from starlette.testclient import TestClient

from serve.http.body import MAX_BODY_BYTES
from tests.support.fake_model import JSON


@pytest.mark.parametrize("path", ["/invocations", "/predict", "/endpoints/digits/invocations"])
def test_a_body_too_large_is_refused_declared_or_not(client: TestClient, path: str) -> None:
    headers = {"content-type": JSON}
    for content in (b"0" * (MAX_BODY_BYTES + 1), iter([b"0" * 2**20] * 7)):
        reply = client.post(path, content=content, headers=headers)
        assert reply.status_code == 413
        assert f"at most {MAX_BODY_BYTES} bytes" in reply.text
        assert reply.headers["connection"] == "close"


def test_a_body_of_exactly_the_limit_is_read(client: TestClient) -> None:
    body = b" " * (MAX_BODY_BYTES - 1) + b"1"
    reply = client.post("/invocations", content=body, headers={"content-type": JSON})
    assert reply.status_code == 422
