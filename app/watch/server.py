"""The server of the page, on loopback."""

import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import uvicorn

from app.run.store import StoreError
from app.watch.app import create_app
from serve.server.sockets import AddressError, bind

HOST = "127.0.0.1"
END_S = 1
"""Seconds for which browsers that still listen are waited for at the end."""


def listen(port: int) -> socket.socket:
    """Return a socket that is bound to a port of loopback, 0 for any; raises StoreError."""
    try:
        return bind(HOST, port)
    except AddressError as error:
        raise StoreError(str(error)) from error


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
