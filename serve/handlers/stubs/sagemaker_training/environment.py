"""Stub of `sagemaker_training.environment`: the training job's environment, typed."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

BASE_DIR = "SAGEMAKER_BASE_DIR"


class Environment(Mapping[str, Any]):
    """All of `SM_TRAINING_ENV`, as items and as attributes."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = json.loads(os.environ["SM_TRAINING_ENV"])

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_values"][name]
        except KeyError as error:
            raise AttributeError(name) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def to_cmd_args(self) -> list[str]:
        """Return the hyperparameters as command-line arguments of the script."""
        return list(json.loads(os.environ["SM_USER_ARGS"]))


def read_hyperparameters() -> dict[str, Any]:
    """Return the hyperparameters of the script, without SageMaker's own."""
    return dict(json.loads(os.environ["SM_HPS"]))


def write_failure_file(message: str) -> None:
    """Write the reason for a failure, unless one was written before."""
    path = Path(os.environ[BASE_DIR], "output/failure")
    if not path.exists():
        path.write_text(message, encoding="utf-8")
