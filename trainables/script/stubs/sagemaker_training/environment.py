"""Stands in for `sagemaker_training.environment`: the training job's environment, typed."""

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
        """The value of that name."""
        return self._values[name]

    def __getattr__(self, name: str) -> Any:
        """The value of that name."""
        try:
            return self.__dict__["_values"][name]
        except KeyError as error:
            raise AttributeError(name) from error

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self._values)

    def __len__(self) -> int:
        """How many values there are."""
        return len(self._values)

    def to_cmd_args(self) -> list[str]:
        """The hyperparameters as the script's arguments."""
        return list(json.loads(os.environ["SM_USER_ARGS"]))


def read_hyperparameters() -> dict[str, Any]:
    """The script's own hyperparameters."""
    return dict(json.loads(os.environ["SM_HPS"]))


def write_failure_file(message: str) -> None:
    """Say why the job failed, unless that was said before."""
    path = Path(os.environ[BASE_DIR], "output/failure")
    if not path.exists():
        path.write_text(message, encoding="utf-8")
