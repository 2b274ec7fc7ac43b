"""Which processes of a test count for the coverage that the gate measures."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

SUBPROCESSES = "COVERAGE_PROCESS_CONFIG"
"""The variable by which coverage.py is started in a process that a measured one starts."""


@contextmanager
def unmeasured() -> Iterator[None]:
    """Start processes in this block without coverage, as those of a Ray that many tests share.

    Every process that such a Ray starts would be traced, which costs minutes.
    """
    config = os.environ.pop(SUBPROCESSES, None)
    try:
        yield
    finally:
        if config is not None:
            os.environ[SUBPROCESSES] = config
