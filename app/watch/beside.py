"""The page beside a search: a process of its own, which ends with the command's."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.storage.working_copy import location

PORT = 8081


@contextmanager
def page_beside(folder: Path) -> Iterator[None]:
    """Serve the page of a run, which need not have begun, until the end of the block.

    What keeps the page from being served is a sentence on stderr, and the block goes on.
    """
    command = [sys.executable, "-m", "app.watch", location(folder.parent), folder.name, str(PORT)]
    # It ends when this pipe does, however this process ends.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()
