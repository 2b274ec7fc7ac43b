"""The admin socket: HTTP on a Unix socket of the server's owner, to swap models and roll back."""

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
from serve.rollout.manager import VersionManager

RELOAD = "/reload"
ROLLBACK = "/rollback"
VERSIONS = "/versions"
MAX_BODY_BYTES = 64 * 1024
TIMEOUT_SECONDS = 20.0
"""How long the server waits for a client to send its request."""
ANSWER_SECONDS = 300.0
"""How long a client waits for the answer: a little longer than a model may take to load."""


class AdminError(Exception):
    """No server is there, or it refuses the request."""


class _RefusedError(Exception):
    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@contextlib.contextmanager
def serve_admin(path: Path, manager: VersionManager) -> Iterator[None]:
    """Answer requests on the Unix socket `path`, in threads, while the block runs."""

    class Handler(_AdminHandler):
        versions = manager

    with _shorten(path) as short:
        server = _Server(short, Handler)
    path.chmod(0o600)
    # The socket listens by now; a client that connects before the thread runs waits.
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def send_request(path: Path, route: str, content: dict[str, Any]) -> dict[str, Any]:
    """Post JSON to a server's admin socket and return its answer.

    Raises:
        AdminError: The server does not answer, or refuses; its text says why.
    """
    connection = _UnixConnection(path)
    try:
        connection.request("POST", route, json.dumps(content), {"content-type": "application/json"})
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
def _shorten(path: Path) -> Iterator[str]:
    """Name a socket by its open folder: its path may have 107 bytes, a folder's any number."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=ANSWER_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        with _shorten(self._path) as short:
            self.sock.connect(short)


class _AdminHandler(BaseHTTPRequestHandler):
    """Answers one request to the admin socket."""

    versions: VersionManager
    timeout = TIMEOUT_SECONDS

    def do_GET(self) -> None:
        """Report the versions."""
        if self.path != VERSIONS:
            self._answer(404, {"error": f"there is no {self.path[:80]!r}; GET {VERSIONS}"})
        else:
            self._answer(200, self.versions.as_json())

    def do_POST(self) -> None:
        """Swap or roll back."""
        try:
            body = self._read_body()  # Before any refusal: the client is still sending it.
            self._answer(200, self._change(body))
        except _RefusedError as error:
            self._answer(error.status, {"error": str(error)})
        except ArtifactError as error:
            self._answer(409, {"error": str(error)})

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log nothing: the manager reports each change."""

    def _change(self, body: bytes) -> dict[str, Any]:
        if self.path == ROLLBACK:
            return self.versions.rollback().as_json()
        if self.path == RELOAD:
            return self.versions.swap(_parse_model(body)).as_json()
        raise _RefusedError(404, f"there is no {self.path[:80]!r}; POST {RELOAD} or {ROLLBACK}")

    def _read_body(self) -> bytes:
        length = self.headers.get("content-length", "0")
        if not (length.isascii() and length.isdecimal() and int(length) <= MAX_BODY_BYTES):
            raise _RefusedError(400, f"send a body with its length, at most {MAX_BODY_BYTES} bytes")
        return self.rfile.read(int(length))

    def _answer(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode() + b"\n"
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError):  # The client left; the change is made.
            self.wfile.write(body)


def _parse_model(body: bytes) -> Path:
    """Parse the model folder that a body names."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _RefusedError(400, f"the body is not JSON: {error}") from error
    model = content.get("model") if isinstance(content, dict) else None
    if not (isinstance(model, str) and model.startswith("/") and "\0" not in model):
        raise _RefusedError(400, 'send {"model": "/the/absolute/path/of/a/model/folder"}')
    return Path(model)
