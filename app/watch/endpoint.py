"""Whether an endpoint of this machine serves a run's model."""

import json
import urllib.request

ADDRESS = "http://127.0.0.1:8080/"
"""The address at which `python -m serve` listens unless it is told otherwise."""
TIMEOUT_S = 0.5


def served_at(run: str) -> str | None:
    """Return the address of the endpoint of this run's model; None where none answers there."""
    try:
        with urllib.request.urlopen(f"{ADDRESS}model", timeout=TIMEOUT_S) as reply:
            manifest = json.load(reply)
    except (OSError, ValueError):
        return None
    return ADDRESS if isinstance(manifest, dict) and manifest.get("run") == run else None
