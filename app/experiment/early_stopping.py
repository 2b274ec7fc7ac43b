"""Early-stopping rules by name, their settings, and the checks of both."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trainables.errors.choices import unknown


@dataclass(frozen=True)
class Setting:
    """What a rule's setting may be."""

    fits: Callable[[Any], bool]
    needs: str


def _is_whole(value: Any, least: int) -> bool:
    return type(value) is int and value >= least


GRACE = Setting(lambda value: _is_whole(value, 0), "a whole number of epochs, 0 or more")
"""Epochs of each trial that neither stop it nor count against others."""
KEEP = Setting(
    lambda value: type(value) is float and 0 < value < 1, "a number between 0 and 1, as 0.33"
)
"""The part of the trials that goes on after every epoch."""
MIN_SAMPLES = Setting(lambda value: _is_whole(value, 1), "a whole number of trials, 1 or more")
"""How many other trials must have come as far before one is stopped."""
RULES: Mapping[str, Mapping[str, Setting]] = {
    "off": {},
    "median": {"grace": GRACE, "min_samples": MIN_SAMPLES},
    "asha": {"grace": GRACE, "keep": KEEP},
}
"""Rules by the names that `--early-stopping` takes, each with its settings."""


def renamed(asked: Any, name: str) -> Any:
    """The early stopping of a file with a rule named by a flag, which keeps the settings it has."""
    if not isinstance(asked, Mapping):
        return name
    known = RULES.get(name, {})
    return in_short(name, {key: value for key, value in asked.items() if key in known})


def in_short(name: str, settings: Mapping[str, Any]) -> str | dict[str, Any]:
    """Early stopping as a file has it: a name, or a table where something is set."""
    return {"name": name, **settings} if settings else name


def parse(asked: Any, epochs: int | None) -> tuple[str, dict[str, Any]]:
    """Split the value of `early_stopping` into a rule's name and its settings.

    Args:
        asked: A rule's name, or a table of `name` and the rule's settings.
        epochs: Epochs of a trial; None where they are not known.

    Raises:
        ValueError: With a sentence, for a rule or a setting that there is not.
    """
    table = dict(asked) if isinstance(asked, Mapping) else {"name": asked}
    if "name" not in table:
        raise ValueError(f"early_stopping.name: is missing; choose from {', '.join(RULES)}")
    name = table.pop("name")
    if not isinstance(name, str):
        raise ValueError(f"early_stopping: needs a name or a table, got {name!r}")
    if name not in RULES:
        raise ValueError(f"early_stopping: {unknown(name, RULES)}")
    for key, value in table.items():
        _check_setting(name, key, value)
    grace = table.get("grace", 0)
    if epochs is not None and grace and grace >= epochs:
        raise ValueError(
            f"early_stopping.grace: needs fewer epochs than a trial has, {epochs}; got {grace},"
            " with which nothing is ever stopped"
        )
    return name, table


def _check_setting(name: str, key: str, value: Any) -> None:
    known = RULES[name]
    if key not in known:
        if known:
            raise ValueError(f"early_stopping: {unknown(key, known, f'setting of {name}')}")
        raise ValueError(f"early_stopping.{key}: is no setting of {name!r}; it has none")
    if not known[key].fits(value):
        raise ValueError(f"early_stopping.{key}: needs {known[key].needs}, got {value!r}")
