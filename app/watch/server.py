"""The server of the page, on loopback."""

import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import uvicorn

from app.run.store import StoreError
from app.watch.app import create_app
from serve.server import sockets
from serve.server.sockets import AddressError, bind

HOST = "127.0.0.1"
NEAR = 20
"""Ports from the usual one on that are tried for a page beside a search."""
END_S = 1
"""Seconds for which browsers that still listen are waited for at the end."""


def listen(port: int) -> socket.socket:
    """Listen on a port of loopback, 0 for any; raises StoreError."""
    if not 0 <= port < 65536:
        raise StoreError(f"--port: needs a number from 0 to 65535, got {port}")
    try:
        listener = bind(HOST, port)
    except AddressError as error:
        raise StoreError(str(error)) from error
    try:
        sockets.listen(listener, HOST)
    except AddressError as error:
        listener.close()
        raise StoreError(str(error)) from error
    return listener


def listen_near(port: int) -> socket.socket:
    """Listen on a port of loopback, or on a free one after it: each search has a page of its own.

    Raises StoreError where no port is free.
    """
    for near in range(port, port + NEAR):
        with suppress(StoreError):
            return listen(near)
    return listen(0)


def serve(
    runs: Path,
    listener: socket.socket,
    say: Callable[[str], None],
    *,
    path: str = "",
    dashboard: str | None = None,
) -> None:
    """Serve the page until Ctrl-C or SIGTERM.

    Args:
        runs: Folder with the runs.
        listener: Bound socket.
        say: Told the page's address.
        path: Path of the page to name, not quoted.
        dashboard: Address of Ray's dashboard, to link to.
    """
    config = uvicorn.Config(
        create_app(runs, dashboard),
        log_level="critical",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=END_S,
    )
    say(f"watch it at http://{HOST}:{listener.getsockname()[1]}/{quote(path)}")
    uvicorn.Server(config).run(sockets=[listener])
