"""Request ids, headers of every reply, and the log."""

import re

import pytest
from starlette.testclient import TestClient

from tests.support.fake_model import image


def test_a_safe_request_id_is_returned_and_an_unsafe_one_replaced(client: TestClient) -> None:
    assert client.get("/ping", headers={"x-request-id": "a-1.b"}).headers["x-request-id"] == "a-1.b"
    for wild in ("", "a b", "a" * 200, '"<script>'):
        made = client.get("/ping", headers={"x-request-id": wild}).headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{12}-[0-9a-f]+", made)


@pytest.mark.parametrize("path", ["/", "/ping", "/docs", "/no/such/route", "/invocations"])
def test_every_reply_has_the_security_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", ["/invocations", "/endpoints/digits/invocations"])
def test_a_sagemaker_client_gets_its_own_headers_back(client: TestClient, path: str) -> None:
    headers = {
        "x-amzn-sagemaker-custom-attributes": "trace=7 " * 128,
        "x-amzn-sagemaker-inference-id": "7",
    }
    reply = client.post(path, json=image(1).tolist(), headers=headers)
    assert reply.status_code == 200
    assert {name: reply.headers[name] for name in headers} == headers


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-amzn-sagemaker-custom-attributes", b"a" * 1025),
        ("x-amzn-sagemaker-custom-attributes", b"caf\xe9"),
        ("x-amzn-sagemaker-inference-id", b"a" * 65),
    ],
)
def test_sagemakers_headers_have_their_limits(client: TestClient, name: str, value: bytes) -> None:
    reply = client.post("/invocations", json=image(1).tolist(), headers={name.encode(): value})
    assert reply.status_code == 400
    assert reply.json()["error"].startswith(f"{name}: expected at most")
