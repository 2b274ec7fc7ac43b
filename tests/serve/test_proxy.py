"""The endpoint behind a real proxy: the recipes of docs/proxies.md, and nginx as it comes."""

import http.client
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import pytest
from playwright.sync_api import HttpCredentials

from tests.support.browser import chromium, needs_chromium, new_page
from tests.support.fake_model import image
from tests.support.nginx import RECIPES, needs_nginx, nginx
from tests.support.sheet import draw, open_page
from tests.support.tiny_model import TinyModel
from tests.support.wire import Served, serving

pytestmark = needs_nginx
KEY = "a-key-of-many-letters"
PLAIN = """
server {
    listen 80;
    location / { proxy_pass http://127.0.0.1:8080; }
    location /kept/ { proxy_pass http://127.0.0.1:8080; }
}
"""
INSTANCES = json.dumps({"instances": [image(1).tolist()]}).encode()


Headers = dict[str, str]


@dataclass(frozen=True)
class Proxied:
    """An endpoint, and the port of the proxy before it."""

    served: Served
    port: int

    def ask(
        self, path: str, body: bytes | None = None, headers: Headers | None = None
    ) -> tuple[int, Headers, bytes]:
        """Ask through the proxy, as a client at 127.0.0.2 that asks for models.example."""
        line = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=30, source_address=("127.0.0.2", 0)
        )
        fields = {"Host": f"models.example:{self.port}", "Content-Type": "application/json"}
        line.request("GET" if body is None else "POST", path, body, {**fields, **(headers or {})})
        reply = line.getresponse()
        answer = reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read()
        line.close()
        return answer


@contextmanager
def proxied(folder: Path, servers: str, *flags: str) -> Iterator[Proxied]:
    model = TinyModel.random().write(folder / "model")
    with (
        serving(model, *flags, "--log-json") as served,
        nginx(folder, servers, served.port) as port,
    ):
        yield Proxied(served, port)


@pytest.fixture(scope="module", params=[0, 1], ids=["a name", "a path"])
def recipe(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Proxied, str, Headers]]:
    """A recipe that runs, the path below which it is offered, and the headers with the key."""
    folder = tmp_path_factory.mktemp("proxied")
    (folder / "key").write_text(KEY)
    servers, flags = RECIPES[request.param]
    words = [str(folder / "key") if word == "KEY" else word for word in flags.split()]
    key = {"Authorization": f"Bearer {KEY}"} if "--api-key-file" in words else {}
    root = words[words.index("--root-path") + 1] if "--root-path" in words else ""
    with proxied(folder, servers, *words) as endpoint:
        yield endpoint, root, key


Recipe = tuple[Proxied, str, Headers]


def test_the_page_and_the_docs_and_all_that_they_load_are_there(recipe: Recipe) -> None:
    endpoint, root, key = recipe
    for page in (f"{root}/", f"{root}/docs"):
        status, _, content = endpoint.ask(page, headers=key)
        assert status == 200
        loaded = re.findall(r'(?:src|href)="([^":]+)"', content.decode())
        assert len(loaded) >= 2
        for address in loaded:
            assert endpoint.ask(urljoin(page, address), headers=key)[0] == 200, address


def test_a_prediction_comes_through(recipe: Recipe) -> None:
    endpoint, root, key = recipe
    origin = {"Origin": f"http://models.example:{endpoint.port}", "Sec-Fetch-Site": "same-origin"}
    status, _, content = endpoint.ask(f"{root}/predict", INSTANCES, {**origin, **key})
    assert (status, len(json.loads(content)["predictions"])) == (200, 1)


def test_the_key_is_asked_for_behind_the_proxy_too(recipe: Recipe) -> None:
    endpoint, root, key = recipe
    assert endpoint.ask(f"{root}/predict", INSTANCES)[0] == (401 if key else 200)
    assert endpoint.ask(f"{root}/ping")[0] == 200


def test_the_api_is_described_below_its_path(recipe: Recipe) -> None:
    endpoint, root, key = recipe
    address = f"{root}/openapi.json"
    (server,) = json.loads(endpoint.ask(address, headers=key)[2])["servers"]
    assert urljoin(address, server["url"]) == f"{root}/"


def test_other_sites_and_other_names_stay_out(recipe: Recipe) -> None:
    endpoint, root, key = recipe
    origin = {"Origin": "http://evil.example"}
    assert endpoint.ask(f"{root}/predict", INSTANCES, {**origin, **key})[0] == 403
    assert endpoint.ask(f"{root}/predict", INSTANCES, {"Host": "evil.example", **key})[0] == 421


def test_the_log_names_the_client_and_nobody_can_name_another(recipe: Recipe) -> None:
    endpoint, root, key = recipe
    named = {"X-Request-ID": "mine", "X-Forwarded-For": "9.9.9.9"}
    endpoint.ask(f"{root}/predict", INSTANCES, {**named, **key})
    assert log_line(endpoint.served, "mine")["client"] == "127.0.0.2"


def log_line(served: Served, request_id: str) -> dict[str, str]:
    assert served.process.stderr is not None
    for text in served.process.stderr:
        line: dict[str, str] = json.loads(text)
        if line["id"] == request_id:
            return line
    raise AssertionError("the log has ended")


def test_nginx_as_it_comes_is_no_trusted_proxy(tmp_path: Path) -> None:
    with proxied(tmp_path, PLAIN) as endpoint:
        assert endpoint.ask("/ping")[0] == 200  # It asks for 127.0.0.1.
        named = {"X-Request-ID": "mine", "X-Forwarded-For": "9.9.9.9"}
        endpoint.ask("/ping", headers=named)
        assert log_line(endpoint.served, "mine")["client"] == "127.0.0.1"
        page = {"Origin": f"http://models.example:{endpoint.port}"}
        status, _, content = endpoint.ask("/predict", INSTANCES, page)
        assert status == 403
        assert "--allow-origin" in json.loads(content)["error"]


def test_a_page_before_nginx_as_it_comes_can_be_allowed(tmp_path: Path) -> None:
    origin = "http://models.example"
    with proxied(tmp_path, PLAIN, "--allow-origin", origin) as endpoint:
        status, headers, _ = endpoint.ask("/predict", INSTANCES, {"Origin": origin})
        assert (status, headers["access-control-allow-origin"]) == (200, origin)


def test_a_path_that_the_proxy_keeps_is_served_too(tmp_path: Path) -> None:
    with proxied(tmp_path, PLAIN, "--root-path", "/kept") as endpoint:
        assert endpoint.ask("/kept/predict", INSTANCES)[0] == 200
        assert endpoint.ask("/kept/docs")[0] == 200
        assert endpoint.ask("/predict", INSTANCES)[0] == 200
        assert endpoint.ask("/kept/kept/predict", INSTANCES)[0] == 404


@needs_chromium
@pytest.mark.browser
def test_a_digit_drawn_on_the_page_is_read(recipe: Recipe) -> None:
    endpoint, root, key = recipe
    password: HttpCredentials | None = {"username": "me", "password": KEY} if key else None
    with chromium() as browser, new_page(browser, password) as page:
        open_page(page, f"http://127.0.0.1:{endpoint.port}{root}/")
        with page.expect_response("**/predict?*") as answered:
            draw(page, (0.5, 0.2), (0.5, 0.8))
        assert answered.value.status == 200
