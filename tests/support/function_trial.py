"""A training function as a trial."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainables.function.trainable import Function, as_class

CONFIG = {"x": 0.8, "reports": 3, "seed": 0}


@contextmanager
def trial(function: Function, tmp_path: Path, **values: Any) -> Iterator[Any]:
    base = as_class(function)

    class Here(base):  # type: ignore[misc, valid-type]
        def _setup_logdir(self) -> None:
            self._logdir = str(tmp_path)

    before = set(threading.enumerate())
    running = Here(config={**CONFIG, **values})
    try:
        yield running
    finally:
        running.stop()
        assert set(threading.enumerate()) <= before
