"""The admin socket: messages of `serve.ipc` by which a server's owner swaps its model.

A request has a `command`: `reload`, with the folder or URI of a `model`, or `rollback`. The answer
has the manager's `summary`, or an `error`, each one sentence.
"""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from serve.ipc import Channel, Message
from serve.models.manifest import ArtifactError
from serve.models.storage import is_uri
from serve.rollout.manager import VersionManager

REQUEST_SECONDS = 20.0
"""How long the server waits for a client to send its request."""
ANSWER_SECONDS = 300.0
"""How long a client waits for the answer: a little longer than a model may take to load."""


class AdminError(Exception):
    """No server is there, or it refuses the request."""


@contextlib.contextmanager
def serve_admin(path: Path, manager: VersionManager) -> Iterator[None]:
    """Answer requests on the Unix socket `path`, in threads, while the block runs."""
    with socket.socket(socket.AF_UNIX) as listener:
        with _shorten(path) as short:
            listener.bind(short)
        path.chmod(0o600)
        listener.listen()
        threading.Thread(target=_accept, args=(listener, manager), daemon=True).start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)  # It wakes the thread, which closing does not.


def send_request(path: Path, command: str, **values: Any) -> str:
    """Send a request to a server's admin socket, and return in one line what it has done.

    Raises AdminError if the server does not answer, or refuses; its text says why.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        channel = Channel(connection)
        try:
            with _shorten(path) as short:
                connection.connect(short)
            channel.send(Message({"command": command, **values}))
            answer = channel.receive(ANSWER_SECONDS).values
        except (OSError, EOFError) as error:
            raise AdminError(f"the server does not answer on {path}: {error}") from error
    if "error" in answer:
        raise AdminError(answer["error"])
    return str(answer["summary"])


@contextlib.contextmanager
def _shorten(path: Path) -> Iterator[str]:
    """Name a socket by its open folder: its path may have 107 bytes, a folder's any number."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _accept(listener: socket.socket, manager: VersionManager) -> None:
    with contextlib.suppress(OSError):  # The server ends.
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_answer, args=(connection, manager), daemon=True).start()


def _answer(connection: socket.socket, manager: VersionManager) -> None:
    """Answer one request; a client that leaves meanwhile does not undo the change."""
    channel = Channel(connection)
    with connection, contextlib.suppress(OSError, EOFError, ValueError):
        request = channel.receive(REQUEST_SECONDS).values
        try:
            answer = {"summary": _run_command(request, manager)}
        except ArtifactError as error:
            answer = {"error": str(error)}
        channel.send(Message(answer))


def _run_command(request: Mapping[str, Any], manager: VersionManager) -> str:
    match request:
        case {"command": "reload", "model": str(model)} if Path(model).is_absolute() or is_uri(
            model
        ):
            return manager.swap(model)
        case {"command": "rollback"}:
            return manager.rollback()
    raise ArtifactError(
        "expected reload with the absolute path or URI of a model, or rollback, got "
        f"{str(request)[:80]}"
    )
