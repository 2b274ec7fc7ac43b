"""The table `[script]` of an experiment: a training script and how it is read."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, Strict, WithJsonSchema, field_serializer

from app.experiment.field_checks import check_text
from app.experiment.fields import Flag, OneOf, Table
from app.experiment.objective import VALUES
from trainables.contract import TrainableError
from trainables.errors.choices import is_one, unknown
from trainables.script.arguments import STYLES, TYPES
from trainables.script.metric_parser import Definition

SECRET = re.compile(
    r"(^|_)(TOKENS?|KEYS?|SECRETS?|PASSWORD|PASSWD|CREDENTIALS?)(_|$)", re.IGNORECASE
)
"""Names of environment variables whose values no run records."""
METRIC_KEYS = {"name", "regex"}
METRICS_SCHEMA: Mapping[str, Any] = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1},
            "regex": {"type": "string", "description": "Its first group is the value."},
        },
        "required": sorted(METRIC_KEYS),
        "additionalProperties": False,
    },
}


def _read_metrics(tables: Any) -> tuple[Definition, ...]:
    if not isinstance(tables, list | tuple) or not all(
        isinstance(table, Mapping | Definition) for table in tables
    ):
        raise TrainableError("script.metrics: needs [[script.metrics]] tables of name and regex")
    definitions = tuple(map(_read_metric, tables))
    names = [definition.name for definition in definitions]
    if len(set(names)) < len(names):
        raise TrainableError(f"script.metrics: two have the same name: {', '.join(names)}")
    return definitions


def _read_metric(table: Mapping[str, Any] | Definition) -> Definition:
    if isinstance(table, Definition):
        return table
    if table.keys() != METRIC_KEYS:
        got = ", ".join(table) or "nothing"
        raise TrainableError(f"script.metrics: each needs a name and a regex, got {got}")
    for key in sorted(METRIC_KEYS):
        if not isinstance(table[key], str) or not table[key]:
            raise TrainableError(f"script.metrics: {key}: needs a string, got {table[key]!r}")
    return Definition(table["name"], table["regex"])


def _check_styles(arguments: Any) -> Any:
    if not isinstance(arguments, Mapping):
        raise TrainableError(f"script.arguments: needs a table of styles, got {arguments!r}")
    for name, style in arguments.items():
        if not is_one(style, STYLES):
            raise TrainableError(f"script.arguments.{name}: {unknown(style, STYLES, 'style')}")
    return arguments


def _check_variables(variables: Any) -> Any:
    if not isinstance(variables, Mapping):
        raise TrainableError(f"script.environment: needs a table of variables, got {variables!r}")
    for name, value in variables.items():
        if not name or "=" in name or "\0" in f"{name}{value}":
            raise TrainableError(f"script.environment: {name!r} can be no variable")
        if value is not None and not isinstance(value, str):
            raise TrainableError(f"script.environment.{name}: needs a string, got {value!r}")
    return variables


class ScriptTable(Table):
    """`[script]`: a training script and how it is read."""

    entry_point: Annotated[Path, Strict(False), BeforeValidator(check_text), Flag("FILE")]
    """Training script to tune instead; it implies `trainable = "script"`."""
    source_dir: Annotated[Path | None, Strict(False), BeforeValidator(check_text), Flag("DIR")] = (
        None
    )
    """Folder that goes with the script; without one, the script is all the code there is."""
    value: Annotated[str, OneOf(tuple(VALUES))] = "last"
    """Reported value that counts as the trial's."""
    metrics: Annotated[
        tuple[Definition, ...],
        BeforeValidator(_read_metrics),
        WithJsonSchema(dict(METRICS_SCHEMA)),
    ] = ()
    """Metrics that are read from what the script prints: a name and a regex with a group."""
    arguments: Annotated[
        dict[str, Annotated[str, OneOf(tuple(STYLES))]], BeforeValidator(_check_styles)
    ] = Field(default_factory=dict)
    """Styles of command-line arguments, by parameter; `value` where none is given."""
    environment: Annotated[dict[str, str | None], BeforeValidator(_check_variables)] = Field(
        default_factory=dict
    )
    """Environment variables of the script on every node; a run records no value of a secret."""

    @field_serializer("environment")
    def _without_secrets(self, variables: dict[str, str | None]) -> dict[str, str | None]:
        return {name: None if SECRET.search(name) else text for name, text in variables.items()}

    @property
    def recorded_environment(self) -> dict[str, str | None]:
        """The variables as a run records them: of secrets, the name alone."""
        return self._without_secrets(self.environment)

    def variables(self) -> dict[str, str]:
        """Return the variables' values.

        Raises:
            TrainableError: For a secret that is not in this process's environment.
        """
        for name, value in self.environment.items():
            if value is None and name not in os.environ:
                raise TrainableError(
                    f"script.environment.{name}: may be a secret, which no run keeps; set {name}"
                    " in the environment of this command"
                )
        return known_values(self.environment)

    def check_styles(self, values: Mapping[str, Sequence[Any]]) -> None:
        """Raise TrainableError for styles of no parameter, or of values of another type.

        Args:
            values: Values of every parameter that can be listed.
        """
        for name, style in self.arguments.items():
            if name not in values:
                raise TrainableError(
                    f"script.arguments: there is no parameter {name!r}; there are"
                    f" {', '.join(values)}"
                )
            kind = TYPES.get(style, object)
            for value in values[name]:
                if not isinstance(value, kind):
                    raise TrainableError(
                        f"script.arguments.{name}: a {style} needs a {kind.__name__}, got {value!r}"
                    )

    def check_metric(self, metric: str) -> None:
        """Raise TrainableError where metrics are read and the objective's is not among them."""
        names = [definition.name for definition in self.metrics]
        if names and metric not in names:
            raise TrainableError(
                f"metric: no [[script.metrics]] is called {metric!r}; there are {', '.join(names)}"
            )


def known_values(environment: Mapping[str, str | None]) -> dict[str, str]:
    """Return the values of variables; of secrets, where this process's environment has them."""
    found = {
        name: os.environ.get(name) if value is None else value
        for name, value in environment.items()
    }
    return {name: value for name, value in found.items() if value is not None}
