"""Commands that tests begin."""

import socket
import subprocess
from collections.abc import Callable


def free_port() -> int:
    """A port of this machine on which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


Begin = Callable[..., "subprocess.Popen[str]"]
