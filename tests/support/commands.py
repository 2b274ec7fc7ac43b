"""Commands that tests begin."""

import logging
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def free_port() -> int:
    """A port of this machine on which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


Begin = Callable[..., "subprocess.Popen[str]"]
Tune = Callable[..., dict[str, Any]]


def named(folder: Path) -> list[str]:
    """Words that call a run `q` and keep it below this folder."""
    return ["--runs", str(folder / "runs"), "--name", "q", "--json"]


def stay_connected(address: str, **options: Any) -> None:
    """Connect this process to a Ray, which the commands that it runs then use."""
    import ray

    if ray.is_initialized() and ray.get_runtime_context().gcs_address != address:
        ray.shutdown()
    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)


def disconnect() -> None:
    """Leave the Ray to which this process is connected, if there is one."""
    if "ray" in sys.modules:
        sys.modules["ray"].shutdown()
