"""The trainable to check and its configuration, from an experiment's file and the command line."""

import argparse
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from trainables import BUILTIN
from trainables.contract import Config, TrainableError

BUILTIN_EXPERIMENTS = Path(__file__).parents[1]


@dataclass
class CheckRequest:
    """A trainable to check."""

    name: str | None = None
    """The trainable's name, as in an experiment's file."""
    folder: Path = field(default_factory=Path.cwd)
    """The folder from which its file is looked up."""
    config: Config = field(default_factory=dict)
    metric: str | None = None
    data_dir: Path | None = None
    workers: int = 1


def read_request(arguments: argparse.Namespace) -> CheckRequest:
    """Merge the command line into an experiment's file; a built-in trainable has one of its own.

    Raises TrainableError where the file cannot be read.
    """
    own = BUILTIN_EXPERIMENTS / f"{arguments.trainable}.toml"
    file = arguments.experiment or (own if arguments.trainable in BUILTIN else None)
    request = CheckRequest() if file is None else _read_experiment(file)
    if arguments.trainable is not None:
        request.name, request.folder = arguments.trainable, Path.cwd()
    request.config |= dict(arguments.values)
    request.metric = arguments.metric or request.metric
    request.data_dir = arguments.data_dir or request.data_dir
    return request


def _read_experiment(file: Path) -> CheckRequest:
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise TrainableError(f"--experiment {file}: {error.strerror}") from error
    except ValueError as error:
        raise TrainableError(f"--experiment {file}: {error}") from error
    folder, data_dir = file.resolve().parent, table.get("data_dir")
    seed = {"seed": table["seed"]} if "seed" in table else {}
    return CheckRequest(
        table.get("trainable"),
        folder,
        {**_middle_of_space(table.get("space", {})), **table.get("fixed", {}), **seed},
        table.get("metric"),
        None if data_dir is None else folder / data_dir,
        table.get("resources", {}).get("workers_per_trial", 1),
    )


def _middle_of_space(space: Mapping[str, Any]) -> Config:
    """Return the middle of a space, without parameters whose `when` the others do not meet."""
    config: Config = {}
    for _ in space:  # a parameter may stand before the one that it depends on
        for name, parameter in space.items():
            when = parameter.get("when", {}) if isinstance(parameter, Mapping) else {}
            if name not in config and all(config.get(key) in when[key] for key in when):
                config[name] = _middle(name, parameter)
    return config


def _middle(name: str, parameter: Any) -> Any:
    """Return the middle of a range, by its scale and step, or of a list of values."""
    try:
        kind = parameter["type"].lower()
        if kind == "categorical":
            return parameter["values"][len(parameter["values"]) // 2]
        low, high = parameter["low"], parameter["high"]
        scale = parameter.get("scale", "linear")
        if kind not in ("continuous", "integer") or scale not in MIDDLES:
            raise KeyError(kind)
        value = MIDDLES[scale](low, high)
        if "step" in parameter:
            value = _round_to_step(value, low, parameter["step"])
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise TrainableError(
            f"space.{name}: cannot be read here: {parameter!r}; give it by --set {name}=VALUE"
        ) from error
    return round(value) if kind == "integer" else value


def _round_to_step(value: float, low: float, step: float) -> float:
    """Round a value down to a whole number of steps from `low`, as a search does."""
    first, by = Decimal(str(low)), Decimal(str(step))
    return float(first + (Decimal(str(value)) - first) // by * by)


MIDDLES: Mapping[str, Callable[[float, float], float]] = {
    "linear": lambda low, high: (low + high) / 2,
    "log": lambda low, high: float((low * high) ** 0.5),
    "reverse-log": lambda low, high: 1 - float(((1 - low) * (1 - high)) ** 0.5),
}
"""The middle of a range, by its scale."""
