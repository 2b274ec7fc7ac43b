"""Early-stopping rules by name, and their settings.

An experiment has a name, as in `early_stopping = "asha"`, or a table, as in
`early_stopping = { name = "asha", grace = 2 }`. `app.search` builds the schedulers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.experiment.errors import ExperimentError
from trainables.errors.choices import unknown


@dataclass(frozen=True)
class Setting:
    """A setting of a rule."""

    fits: Callable[[Any], bool]
    needs: str
    json_schema: Mapping[str, Any]


def _is_whole(value: Any, least: int) -> bool:
    return type(value) is int and value >= least


GRACE = Setting(
    lambda value: _is_whole(value, 0),
    "a whole number of epochs, 0 or more",
    {
        "type": "integer",
        "minimum": 0,
        "description": "Epochs of each trial that neither stop it nor count against others.",
    },
)
KEEP = Setting(
    lambda value: type(value) is float and 0 < value < 1,
    "a number between 0 and 1, as 0.33",
    {
        "type": "number",
        "exclusiveMinimum": 0,
        "exclusiveMaximum": 1,
        "description": "Part of the trials that continues after every epoch.",
    },
)
MIN_SAMPLES = Setting(
    lambda value: _is_whole(value, 1),
    "a whole number of trials, 1 or more",
    {
        "type": "integer",
        "minimum": 1,
        "description": "Other trials that must have come as far before one is stopped.",
    },
)
OFF = "off"
RULES: Mapping[str, Mapping[str, Setting]] = {
    OFF: {},
    "median": {"grace": GRACE, "min_samples": MIN_SAMPLES},
    "asha": {"grace": GRACE, "keep": KEEP},
}
"""Rules by the names that `--early-stopping` takes, each with its settings."""
JSON_SCHEMA: Mapping[str, Any] = {
    "anyOf": [
        {"type": "string", "enum": list(RULES)},
        *(
            {
                "type": "object",
                "properties": {
                    "name": {"const": name},
                    **{key: dict(setting.json_schema) for key, setting in settings.items()},
                },
                "additionalProperties": False,
            }
            for name, settings in RULES.items()
        ),
    ]
}


@dataclass(frozen=True)
class EarlyStopping:
    """A rule that stops trials early."""

    name: str = OFF
    settings: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> str | dict[str, Any]:
        """Return the name, or a table where something is set."""
        return {"name": self.name, **self.settings} if self.settings else self.name

    def check_grace(self, epochs: int) -> None:
        """Raise ExperimentError for a grace as long as trials of so many epochs."""
        grace = self.settings.get("grace", 0)
        if grace and grace >= epochs:
            raise ExperimentError(
                f"early_stopping.grace: needs fewer epochs than a trial has, {epochs}; got"
                f" {grace}, with which nothing is ever stopped"
            )


def with_rule(value: Any, name: str) -> Any:
    """Return the value of `early_stopping` with another rule, which keeps the settings it has."""
    if not isinstance(value, Mapping):
        return name
    known = RULES.get(name, {})
    kept = {key: setting for key, setting in value.items() if key in known}
    return EarlyStopping(name, kept).as_json()


def rule_of_search(value: Any, search: str, rule: str) -> Any:
    """Return the value of `early_stopping` for a search that has a rule of its own.

    Raises:
        ExperimentError: For another rule.
    """
    table = dict(value) if isinstance(value, Mapping) else {"name": value}
    if table.setdefault("name", rule) not in (OFF, rule):
        raise ExperimentError(
            f"early_stopping: {search} search stops by {rule} itself; leave {table['name']!r} out"
        )
    return {**table, "name": rule}


def parse_rule(value: Any) -> EarlyStopping:
    """Read the value of `early_stopping`.

    Args:
        value: A rule's name, or a table of `name` and the rule's settings.

    Raises:
        ExperimentError: With a sentence, for an unknown rule or setting.
    """
    table = dict(value) if isinstance(value, Mapping) else {"name": value}
    if "name" not in table:
        raise ExperimentError(f"early_stopping.name: is missing; choose from {', '.join(RULES)}")
    name = table.pop("name")
    if not isinstance(name, str):
        raise ExperimentError(f"early_stopping: needs a name or a table, got {name!r}")
    if name not in RULES:
        raise ExperimentError(f"early_stopping: {unknown(name, RULES)}")
    for key, setting in table.items():
        _check_setting(name, key, setting)
    return EarlyStopping(name, table)


def _check_setting(name: str, key: str, value: Any) -> None:
    known = RULES[name]
    if key not in known:
        if known:
            raise ExperimentError(f"early_stopping: {unknown(key, known, f'setting of {name}')}")
        raise ExperimentError(f"early_stopping.{key}: is no setting of {name!r}; it has none")
    if not known[key].fits(value):
        raise ExperimentError(f"early_stopping.{key}: needs {known[key].needs}, got {value!r}")
