"""Heads of clusters that are asked before Ray is, by servers that answer as Ray's do."""

import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

from app.cluster import head_probe
from app.cluster.head_probe import probe
from app.experiment.errors import ExperimentError
from tests.support.heads import Gcs


class Dashboard(BaseHTTPRequestHandler):
    """Answers in HTTP/1.1, and logs nothing."""

    def log_message(self, format: str, *words: object) -> None:
        pass


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No token of this machine's, and none that Ray remembers."""
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    _forget()
    yield
    monkeypatch.undo()
    _forget()


def _forget() -> None:
    """Let Ray read its variables anew."""
    AuthenticationTokenLoader.instance().reset_cache()
    Config.initialize("")


def give_token(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    """Give Ray this token."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    AuthenticationTokenLoader.instance().reset_cache()


def test_a_head_without_a_token_is_open(gcs: tuple[Gcs, str]) -> None:
    handler, address = gcs
    handler.token = None
    assert probe(address, "--address") == head_probe.Head(address, asks_token=False)


def test_a_head_with_a_token_answers_those_who_have_it(
    gcs: tuple[Gcs, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, address = gcs
    # As Ray does, an address that it finds itself is sent the token of this machine.
    monkeypatch.setenv("RAY_ADDRESS", address)
    give_token(monkeypatch, "a" * 32)
    assert probe("auto", "--address").asks_token


@pytest.mark.parametrize("token", [None, "b" * 32])
def test_a_token_that_is_missing_or_another_ones_is_refused_in_one_sentence(
    gcs: tuple[Gcs, str], token: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, address = gcs
    monkeypatch.setenv("RAY_ADDRESS", address)
    if token is not None:
        give_token(monkeypatch, token)
    said = (
        r"the cluster at auto \(.*\) asks for a token"
        if token is None
        else r"the token is not that of the cluster at auto \(.*\)"
    )
    with pytest.raises(ExperimentError, match=rf"^--address: {said}; set RAY_AUTH_MODE=token"):
        probe("auto", "--address")


def test_a_token_file_that_cannot_be_read_is_named(
    gcs: tuple[Gcs, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", gcs[1])
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/no/token")
    with pytest.raises(ExperimentError, match=r"^--address: RAY_AUTH_TOKEN_PATH .*: /no/token; "):
        probe("auto", "--address")


def test_a_port_of_rays_that_is_not_the_heads_is_told(gcs: tuple[Gcs, str]) -> None:
    handler, address = gcs
    handler.method = "/ray.rpc.RayletDriver/Init"
    sentence = f"^--address: {address} is a port of Ray's, but not the head's own; .* 6379"
    with pytest.raises(ExperimentError, match=sentence):
        probe(address, "--address")


def test_the_dashboards_port_is_told() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Dashboard) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_address[1]}"
        sentence = f"^--address: {address} answers in HTTP, so that is the dashboard's port; "
        with pytest.raises(ExperimentError, match=sentence):
            probe(address, "--address")
        server.shutdown()


def test_a_server_that_says_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_probe, "ANSWER_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        sentence = f"^--address: no answer from {address} within 0.2 s"
        with pytest.raises(ExperimentError, match=sentence):
            probe(address, "--address")


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("head", "it has no port; give host:port of the head, or auto"),
        ("127.0.0.1:port", "invalid literal"),
        ("127.0.0.1:1", ".*Connection refused"),
    ],
)
def test_an_address_without_a_head_is_refused_at_once(address: str, why: str) -> None:
    with pytest.raises(ExperimentError, match=f"^RAY_ADDRESS: no answer from {address}: {why}"):
        probe(address, "RAY_ADDRESS")


def test_a_head_that_has_ended_since_ray_found_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    sentence = r"^--address: no answer from auto \(.*:1\): .*refused"
    with pytest.raises(ExperimentError, match=sentence):
        probe("auto", "--address")
