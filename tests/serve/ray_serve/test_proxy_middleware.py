"""The middleware and protocol of Ray Serve's proxies, around a fake of Ray."""

import http.client
import json
import socket
import threading
from typing import Any

import pytest
import uvicorn.config
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from serve.http.headers import SECURITY_HEADERS
from serve.ray_serve.proxy_hook import (
    SETTINGS_VARIABLE,
    create_environment,
    create_middlewares,
)
from serve.ray_serve.proxy_middleware import ProxyMiddleware, ProxySettings
from serve.server.protocol import LimitedProtocol
from serve.settings import MAX_BODY_BYTES, ClientLimits

SETTINGS = ProxySettings(ClientLimits(), 90.0)
GUARD = {name.decode(): value.decode() for name, value in SECURITY_HEADERS}


class Ray:
    """Answers as Ray's proxy and a replica do together: with statuses, and losses as 0."""

    def __init__(self, *statuses: int) -> None:
        self._statuses = iter(statuses)
        self.bodies: list[bytes] = []
        self.headers: dict[str, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        scope["headers"].append((b"x-request-id", b"ray's own"))
        self.bodies.append((await receive())["body"])
        status = next(self._statuses)
        if status == 0:
            return
        name = {"x-request-id": self.headers["x-request-id"]}
        if status == 200 or status == 422:
            response: Response = JSONResponse({}, status, headers={**GUARD, **name})
        else:
            response = PlainTextResponse("Ray's own words", status, headers=name)
        await response(scope, receive, send)


def through(ray: Ray, body: bytes = b"[1]", path: str = "/invocations", **headers: str) -> Any:
    client = TestClient(ProxyMiddleware(ray, SETTINGS), raise_server_exceptions=False)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(path, content=body, headers=named)


def test_a_request_whose_replica_is_lost_is_passed_to_another() -> None:
    ray = Ray(0, 200)
    assert through(ray, b"[1, 2]").status_code == 200
    assert ray.bodies == [b"[1, 2]"] * 2


def test_a_request_that_loses_two_replicas_gets_503_with_retry_after() -> None:
    reply = through(Ray(0, 0, 200))
    assert reply.status_code == 503
    assert reply.headers["retry-after"] == "1"
    assert reply.json() == {"error": "the replica that worked on this request was lost; ask again"}


@pytest.mark.parametrize(
    ("of_ray", "status", "sentence"),
    [
        (503, 503, "every replica has as many requests as it takes; ask again"),
        (404, 503, "the endpoint is starting or stopping; ask again"),
        (408, 504, "the request was not answered within 90 seconds"),
        (500, 503, "every replica has as many requests as it takes; ask again"),
    ],
)
def test_error_replies_of_ray_are_replaced_by_ours(of_ray: int, status: int, sentence: str) -> None:
    reply = through(Ray(of_ray))
    assert (reply.status_code, reply.json()) == (status, {"error": sentence})
    assert GUARD.items() <= dict(reply.headers).items()


def test_the_alias_refuses_as_sagemaker_does() -> None:
    reply = through(Ray(503), path="/endpoints/digits/invocations")
    assert reply.headers["x-amzn-errortype"] == "ServiceUnavailable"


def test_error_replies_of_a_replica_are_passed_on() -> None:
    assert through(Ray(422)).status_code == 422


def test_a_request_has_one_id_which_the_client_may_choose() -> None:
    ray = Ray(200, 200)
    assert through(ray, x_request_id="mine").headers.get_list("x-request-id") == ["mine"]
    (name,) = through(ray, x_request_id="a b").headers.get_list("x-request-id")
    assert name != "a b"
    assert ray.headers["x-request-id"] == name


def test_headers_that_control_ray_are_removed() -> None:
    ray = Ray(200)
    orders: Any = {
        "x_request_timeout_seconds": "0",
        "serve_multiplexed_model_id": "a",
        "x_session_id": "b",
    }
    through(ray, x_other="c", **orders)
    assert ray.headers.keys() & {name.replace("_", "-") for name in orders} == set()
    assert ray.headers["x-other"] == "c"


def test_a_replica_gets_only_the_length_of_a_body_too_large() -> None:
    ray = Ray(422, 422)
    through(ray, b"0" * (MAX_BODY_BYTES + 1))
    assert ray.headers["content-length"] == str(MAX_BODY_BYTES + 1)
    client = TestClient(ProxyMiddleware(ray, SETTINGS))
    client.post("/invocations", content=iter([b"0" * MAX_BODY_BYTES, b"00"]))
    assert ray.headers["content-length"] == str(MAX_BODY_BYTES + 1)
    assert "transfer-encoding" not in ray.headers
    assert ray.bodies == [b"", b""]


def test_the_deployed_routes_are_not_listed() -> None:
    reply = through(Ray(), path="/-/routes")
    assert reply.status_code == 404
    assert "no route '/-/routes'" in reply.json()["error"]


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of a proxy, and what its uvicorn knows, as they were afterwards."""
    environment = create_environment(ProxySettings(ClientLimits(max_requests=3), 90.0))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(uvicorn.config.HTTP_PROTOCOLS, "auto", "")
    return environment


def test_a_proxy_gets_our_middleware_and_our_protocol(proxy: dict[str, str]) -> None:
    assert json.loads(proxy[SETTINGS_VARIABLE])["limits"]["max_requests"] == 3
    module, _, name = proxy["RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"].rpartition(".")
    assert (module, name) == ("serve.ray_serve.proxy_hook", "create_middlewares")
    (middleware,) = create_middlewares()
    middleware_class: Any = middleware.cls
    assert middleware_class is ProxyMiddleware
    protocol: Any = uvicorn.config.Config(lambda: None, http="auto")
    protocol.load()
    assert issubclass(protocol.http_protocol_class, LimitedProtocol)
    assert protocol.http_protocol_class.table.limits.max_requests == 3


def test_a_small_request_goes_through_our_protocol_to_ray(proxy: dict[str, str]) -> None:
    ray = Ray(200, 422)
    assert create_middlewares()
    config = uvicorn.Config(
        ProxyMiddleware(ray, SETTINGS), port=0, lifespan="off", log_level="error"
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        connection = http.client.HTTPConnection(*listener.getsockname())
        replies = []
        for body in (b"[1]", b"[2]"):
            connection.request("POST", "/invocations", body)
            reply = connection.getresponse()
            replies.append((reply.status, reply.headers["server"], reply.read()))
        connection.close()
        server.should_exit = True
        thread.join()
    assert replies == [(200, None, b"{}"), (422, None, b"{}")]
    assert ray.bodies == [b"[1]", b"[2]"]
