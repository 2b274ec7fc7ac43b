"""Endpoints of this user on this machine, asked for the run that their model comes from."""

import json
import urllib.request
from collections.abc import Iterator
from contextlib import suppress

from serve.rollout import run_dir
from serve.rollout.run_dir import RunDirError
from serve.server.sockets import url

ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Addresses at which a server listens on all, and one of this machine's among them."""
TIMEOUT_S = 0.5
DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Asks without the proxy that the environment may name, which does not reach this machine."""


def served_at(run: str) -> str | None:
    """Return the address of an endpoint of this run's model; None where there is none."""
    return next((address for address in _addresses() if _run_of(address) == run), None)


def _addresses() -> Iterator[str]:
    with suppress(RunDirError):
        for host, port in run_dir.list_servers():
            yield url(ANY.get(host, host), port)


def _run_of(address: str) -> object:
    try:
        with DIRECTLY.open(f"{address}model", timeout=TIMEOUT_S) as reply:
            manifest = json.load(reply)
    except (OSError, ValueError):
        return None
    return manifest.get("run") if isinstance(manifest, dict) else None
