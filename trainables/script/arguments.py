"""Hyperparameters as command-line arguments, by the rules of SageMaker's training toolkit."""

import json
from collections.abc import Callable, Mapping
from typing import Any

TORCHRUN = "sagemaker_torch_distributed_enabled"
"""Hyperparameter that makes SageMaker start a script's processes by `torchrun`."""
TOOLKIT_KEYS = ("_tuning_objective_metric", "default_user_module_name")
"""Hyperparameters for the toolkit alone, beside all that begin with `sagemaker_`."""


def is_for_toolkit(key: str) -> bool:
    """Whether a hyperparameter is for SageMaker's toolkit and not for the script."""
    return key.startswith("sagemaker_") or key in TOOLKIT_KEYS


def flag(key: str) -> str:
    """Return the flag of a hyperparameter."""
    return f"--{key}" if len(key) > 1 else f"-{key}"


def _format_value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{key}={value[key]}" for key in sorted(value))
    return "" if value is None else str(value)


VALUE = "value"
STYLES: Mapping[str, Callable[[str, Any], list[str]]] = {
    VALUE: lambda flag, value: [flag, _format_value(value)],
    "switch": lambda flag, value: [flag] if value else [],
    "list": lambda flag, value: [flag, *map(_format_value, value)],
    "json": lambda flag, value: [flag, json.dumps(value)],
}
"""Ways to write a hyperparameter as arguments; `value` is the toolkit's own."""
TYPES: Mapping[str, type] = {"switch": bool, "list": list}
"""Types of the values that a style is for."""
