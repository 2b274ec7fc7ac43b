"""Access control: the API key, the hosts that are served, and other sites' pages."""

import base64
import socket

import pytest
from starlette.testclient import TestClient

from serve.http.access import LOOPBACK_HOSTS, AccessPolicy, digest_key
from serve.http.app import create_app
from serve.rollout.registry import Registry
from serve.runtime.onnx_backend import OnnxBackend
from serve.settings import Settings
from tests.support.fake_model import Fake, image

KEY = "correct horse battery staple"


def client_of(access: AccessPolicy) -> TestClient:
    return TestClient(create_app(Registry(OnnxBackend(Fake())), access=access))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": f"Basic {KEY}"}, 401),
        ({"authorization": f"Bearer {KEY[:-1]}"}, 401),
        ({"x-api-key": ""}, 401),
        ({"x-api-key": KEY}, 200),
        ({"authorization": "bearer no-space-in-this-key"}, 401),
        ({"authorization": f"Basic {base64.b64encode(f'anyone:{KEY}'.encode()).decode()}"}, 200),
        ({"authorization": f"basic {base64.b64encode(f':{KEY}'.encode()).decode()}"}, 200),
        ({"authorization": f"Basic {base64.b64encode(KEY.encode()).decode()}"}, 401),
        ({"authorization": f"Basic {base64.b64encode(f'{KEY}:'.encode()).decode()}"}, 401),
    ],
)
def test_every_route_but_those_of_health_needs_the_key(
    headers: dict[str, str], status: int
) -> None:
    client = client_of(AccessPolicy(key_sha256=digest_key(KEY)))
    reply = client.post("/invocations", json=image(1).tolist(), headers=headers)
    assert reply.status_code == status
    assert client.get("/model", headers=headers).status_code == status
    for path in ("/ping", "/healthz", "/readyz", "/livez"):
        assert client.get(path, headers=headers).status_code == 200
    schemes = [value.partition(" ")[0] for value in reply.headers.get_list("www-authenticate")]
    assert schemes == (["Basic", "Bearer"] if status == 401 else [])
    assert KEY not in reply.text


def test_a_key_is_accepted_as_a_bearer_token() -> None:
    client = client_of(AccessPolicy(key_sha256=digest_key("0123456789abcdef")))
    headers = {"authorization": "Bearer 0123456789abcdef"}
    assert client.get("/model", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8080", "127.0.0.1:9", "[::1]", "[::1]:8080"]
)
def test_loopback_hosts_are_served(host: str) -> None:
    client = client_of(AccessPolicy(LOOPBACK_HOSTS))
    assert client.get("/ping", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "localhost@evil", "127.0.0.1:x", "", "::1"]
)
def test_other_hosts_are_misdirected(host: str) -> None:
    client = client_of(AccessPolicy(LOOPBACK_HOSTS))
    reply = client.get("/ping", headers={"host": host})
    assert reply.status_code == 421
    assert "ask for 127.0.0.1, [::1], localhost" in reply.json()["error"]


@pytest.mark.parametrize(
    ("listens_on", "allowed", "host", "status"),
    [
        ("127.0.0.1", [], "localhost", 200),
        ("127.0.0.1", [], "10.0.0.7", 421),
        ("127.0.0.1", [], "models.example", 421),
        ("127.0.0.1", ["models.example"], "models.example", 200),
        ("127.0.0.1", ["models.example"], "Models.Example:443", 200),
        ("127.0.0.1", ["models.example"], "localhost", 200),
        ("127.0.0.1", ["models.example"], "a.models.example", 421),
        ("127.0.0.1", ["*.models.example"], "a.models.example", 200),
        ("127.0.0.1", ["*.models.example"], "models.example", 421),
        ("127.0.0.1", ["10.0.0.0/8"], "10.0.0.7:8080", 200),
        ("127.0.0.1", ["10.0.0.0/8"], "11.0.0.7", 421),
        ("127.0.0.1", ["*"], "anything.example", 200),
        # A name that leads here may be another site's: DNS rebinding. An address is nobody's.
        ("0.0.0.0", [], "evil.example", 421),
        ("0.0.0.0", [], "10.0.0.7:8080", 200),
        ("0.0.0.0", [], "[fe80::1]:8080", 200),
        ("0.0.0.0", [], "localhost", 200),
        ("0.0.0.0", [], socket.gethostname(), 200),
        ("::", [], socket.gethostname(), 200),
        ("lab.example", [], "lab.example", 200),
        ("lab.example", [], "10.0.0.7", 200),
        ("lab.example", [], "evil.example", 421),
    ],
)
def test_hosts_follow_from_the_address_and_the_flags(
    listens_on: str, allowed: list[str], host: str, status: int
) -> None:
    client = client_of(AccessPolicy.create(listens_on, Settings(allowed_hosts=tuple(allowed))))
    assert client.get("/ping", headers={"host": host}).status_code == status


def test_any_host_is_served_if_none_is_named(client: TestClient) -> None:
    assert client.get("/ping", headers={"host": "models.example"}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://testserver:81"}, 403),
        ({"origin": "http://testserver", "sec-fetch-site": "same-origin"}, 200),
        ({}, 200),
    ],
)
def test_requests_of_other_sites_pages_are_refused(
    client: TestClient, headers: dict[str, str], status: int
) -> None:
    reply = client.post("/invocations", json=image(1).tolist(), headers=headers)
    assert reply.status_code == status


def test_a_link_from_another_site_may_be_followed(client: TestClient) -> None:
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get("/", headers=link).status_code == 200
    assert client.get("/model", headers={"sec-fetch-site": "cross-site"}).status_code == 403


# --- Pages of other sites that may ask

PAGE = "https://page.example"


@pytest.fixture
def beside_a_page() -> TestClient:
    return client_of(AccessPolicy(key_sha256=digest_key(KEY), origins=frozenset({PAGE})))


def test_a_page_of_an_allowed_origin_may_ask_and_read(beside_a_page: TestClient) -> None:
    headers = {"origin": PAGE, "sec-fetch-site": "cross-site", "x-api-key": KEY}
    reply = beside_a_page.post("/invocations", json=image(1).tolist(), headers=headers)
    assert reply.status_code == 200
    assert reply.headers["access-control-allow-origin"] == PAGE
    assert "x-model-version" in reply.headers["access-control-expose-headers"]
    assert reply.headers["vary"] == "Origin"
    assert beside_a_page.get("/model", headers=headers).status_code == 200


def test_a_page_of_an_allowed_origin_may_read_why_it_is_refused(beside_a_page: TestClient) -> None:
    reply = beside_a_page.post("/invocations", json=[1], headers={"origin": PAGE})
    assert reply.status_code == 401
    assert reply.headers["access-control-allow-origin"] == PAGE


def test_a_preflight_of_an_allowed_origin_needs_no_key(beside_a_page: TestClient) -> None:
    asked = {
        "origin": PAGE,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, content-type",
    }
    reply = beside_a_page.options("/predict", headers=asked)
    assert reply.status_code == 200
    assert reply.headers["access-control-allow-origin"] == PAGE
    assert "POST" in reply.headers["access-control-allow-methods"]
    assert "authorization" in reply.headers["access-control-allow-headers"]
    assert "x-request-id" in reply.headers


@pytest.mark.parametrize("origin", ["https://evil.example", f"{PAGE}.evil.example", "null"])
def test_pages_of_other_origins_stay_out(beside_a_page: TestClient, origin: str) -> None:
    headers = {"origin": origin, "x-api-key": KEY}
    posted = beside_a_page.post("/invocations", json=image(1).tolist(), headers=headers)
    asked = beside_a_page.options(
        "/predict", headers={**headers, "access-control-request-method": "POST"}
    )
    for reply in (posted, asked):
        assert reply.status_code == 403
        assert "allow it by --allow-origin" in reply.json()["error"]
        assert "access-control-allow-origin" not in reply.headers


def test_a_preflight_for_an_unknown_method_says_so(beside_a_page: TestClient) -> None:
    asked = {"origin": PAGE, "access-control-request-method": "BREW"}
    reply = beside_a_page.options("/predict", headers=asked)
    assert (reply.status_code, reply.json()) == (403, {"error": "Disallowed CORS method"})


def test_any_origin_may_be_allowed() -> None:
    client = client_of(AccessPolicy(origins=frozenset({"*"})))
    reply = client.post("/invocations", json=image(1).tolist(), headers={"origin": "null"})
    assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (200, "*")
