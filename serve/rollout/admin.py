"""How a running server is asked to change its model: HTTP on a Unix socket of its owner's alone."""

import contextlib
import http.client
import json
import os
import socket
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from serve.models.manifest import ArtifactError
from serve.rollout.manager import Versions

RELOAD = "/reload"
ROLLBACK = "/rollback"
VERSIONS = "/versions"
LONGEST_BODY = 64 * 1024
TIMEOUT_SECONDS = 20.0
ANSWER_SECONDS = 300.0
"""How long a model may take to be loaded, and a little more."""


class AdminError(Exception):
    """A server that is not there, or that does not do what it is asked."""


class _Refused(Exception):
    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@contextlib.contextmanager
def answering(path: Path, versions: Versions) -> Iterator[None]:
    """Answer on a Unix socket, in threads, while the block runs."""

    class Asked(_Asked):
        asked = versions

    with _short(path) as short:
        server = _Server(short, Asked)
    path.chmod(0o600)
    # It is listening by now; who asks before the thread runs waits.
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def ask(path: Path, route: str, order: dict[str, Any]) -> dict[str, Any]:
    """The answer of a server's admin socket; an `AdminError` says why there is none."""
    connection = _Connection(path)
    try:
        connection.request("POST", route, json.dumps(order), {"content-type": "application/json"})
        reply = connection.getresponse()
        answer: dict[str, Any] = json.loads(reply.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise AdminError(f"the server does not answer on {path}: {error}") from error
    finally:
        connection.close()
    if reply.status != http.client.OK:
        raise AdminError(answer["error"])
    return answer


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """The path by way of its open folder: a socket's may have 107 bytes, a folder's any number."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=ANSWER_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        with _short(self._path) as short:
            self.sock.connect(short)


class _Asked(BaseHTTPRequestHandler):
    """One request to the admin socket."""

    asked: Versions
    timeout = TIMEOUT_SECONDS

    def do_GET(self) -> None:
        """Tell of the versions."""
        if self.path != VERSIONS:
            self._answer(404, {"error": f"there is no {self.path[:80]!r}; GET {VERSIONS}"})
        else:
            self._answer(200, self.asked.as_json())

    def do_POST(self) -> None:
        """Swap or roll back."""
        try:
            body = self._body()  # Read first, whatever comes of it: who asks is still sending it.
            self._answer(200, self._changed(body))
        except _Refused as error:
            self._answer(error.status, {"error": str(error)})
        except ArtifactError as error:
            self._answer(409, {"error": str(error)})

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing: what is changed is said by who changes it."""

    def _changed(self, body: bytes) -> dict[str, Any]:
        if self.path == ROLLBACK:
            return self.asked.rollback().as_json()
        if self.path == RELOAD:
            return self.asked.swap(_model(body)).as_json()
        raise _Refused(404, f"there is no {self.path[:80]!r}; POST {RELOAD} or {ROLLBACK}")

    def _body(self) -> bytes:
        length = self.headers.get("content-length", "0")
        if not (length.isascii() and length.isdecimal() and int(length) <= LONGEST_BODY):
            raise _Refused(400, f"send a body with its length, at most {LONGEST_BODY} bytes")
        return self.rfile.read(int(length))

    def _answer(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode() + b"\n"
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError):  # Who asked has gone; what was asked is done.
            self.wfile.write(body)


def _model(body: bytes) -> Path:
    """The model folder that a body names."""
    try:
        order = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _Refused(400, f"the body is not JSON: {error}") from error
    model = order.get("model") if isinstance(order, dict) else None
    if not (isinstance(model, str) and model.startswith("/") and "\0" not in model):
        raise _Refused(400, 'send {"model": "/the/absolute/path/of/a/model/folder"}')
    return Path(model)
