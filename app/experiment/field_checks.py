"""Checks of single fields of an experiment: each returns the value, or raises ValueError."""

import json
import re
import sys
from pathlib import Path
from typing import Any

from app.experiment import result_keys
from app.experiment.errors import ExperimentError
from app.experiment.run_folder import NAME
from app.experiment.space import parse as parse_space

LEAST_SHARE = 0.0001
"""The least part of a CPU or GPU that Ray can assign."""
CHANNEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
WITH_PASSWORD = re.compile(r"[^/]+://[^/@]*:[^/@]*@")


def check_name(name: str) -> str:
    """Accept names that a run's folder can have."""
    if not NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} must be letters, digits, dots, dashes and underscores, a letter or digit"
            " first"
        )
    return name


def check_metric(metric: str) -> str:
    """Refuse names that Tune puts into every result itself."""
    if metric in result_keys.TAKEN:
        raise ValueError(f"{metric!r} is a name that Ray Tune uses itself; report another")
    return metric


def check_space(table: dict[str, Any]) -> dict[str, Any]:
    """Accept a space that can be searched; raises SpaceError."""
    parse_space(table)
    return table


def check_fixed(table: dict[str, Any]) -> dict[str, Any]:
    """Accept values that JSON can hold."""
    try:
        json.dumps(table, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"needs numbers, strings, booleans or lists: {error}") from error
    return table


def _check_share(value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= sys.float_info.max:
        raise ValueError(f"needs a number of at least 0, got {value!r}")
    if 0 < value < LEAST_SHARE:
        raise ValueError(f"Ray counts in {LEAST_SHARE}; got {value!r}")
    return value


def check_cpus(value: Any) -> Any:
    """Accept whole CPUs and parts of them."""
    if _check_share(value) == 0:
        raise ValueError("needs a number above 0, got 0")
    return value


def check_gpus(value: Any) -> Any:
    """Accept whole GPUs, or a part of one."""
    if _check_share(value) > 1 and value != int(value):
        raise ValueError(f"Ray assigns parts of one GPU or whole ones; got {value!r}")
    return value


def check_inputs(inputs: dict[str, str]) -> dict[str, str]:
    """Accept names that a channel can have; raises ExperimentError for a password in a URI."""
    for name, place in inputs.items():
        if not CHANNEL.fullmatch(name):
            raise ValueError(f"{name!r} must be letters, digits, dots and dashes")
        if WITH_PASSWORD.match(place):
            raise ExperimentError(
                f"inputs.{name}: a run would keep the URI's password; give it by the environment"
            )
    return inputs


def check_text(value: Any) -> Any:
    """Accept a text or a path that is not empty."""
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError(f"needs a string, got {value!r}")
    return value
