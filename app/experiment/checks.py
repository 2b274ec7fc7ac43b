"""Checks of an experiment that concern more than one key."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from app.experiment import result_keys
from app.experiment.errors import ExperimentError

if TYPE_CHECKING:
    from app.experiment.schema import Experiment

SCRIPT = "script"
"""The trainable that is a training script."""


def check_no_nul(key: str, value: Any) -> None:
    """Raise ExperimentError for a NUL in a text, which neither paths nor arguments can have."""
    if isinstance(value, str) and "\0" in value:
        raise ExperimentError(f"{key}: a text cannot have a NUL character, got {value!r}")
    if isinstance(value, Mapping):
        for name, inner in value.items():
            check_no_nul(f"{key}.{name}".lstrip("."), inner)
    elif isinstance(value, list):
        for inner in value:
            check_no_nul(key, inner)


def check(experiment: "Experiment") -> None:
    """Raise ExperimentError, or TrainableError for a script, where keys contradict each other."""
    _check_seed(experiment)
    _check_names(experiment)
    _check_script(experiment)


def _check_seed(experiment: "Experiment") -> None:
    seed, repeats = experiment.seed, experiment.repeats
    if not 0 <= seed <= 2**63 - repeats:
        raise ExperimentError(f"seed: needs a number from 0 to 2^63 - {repeats}, got {seed}")
    if repeats == 1:
        return
    if "seed" in experiment.space:
        raise ExperimentError(
            "repeats: gives each trial a seed of its own, which is searched in [space] as well;"
            " keep one of them"
        )
    if type(experiment.fixed.get("seed", 0)) is not int:
        raise ExperimentError(
            "fixed.seed: needs a whole number, from which repeats count on, got"
            f" {experiment.fixed['seed']!r}"
        )


def _check_names(experiment: "Experiment") -> None:
    for key in experiment.fixed:
        if key in experiment.space:
            raise ExperimentError(f"fixed.{key}: is searched in [space] as well; keep one of them")
    for table, names in (("space", experiment.space), ("fixed", experiment.fixed)):
        for key in result_keys.RESERVED:
            # A script gets no seed but its own.
            is_own_seed = key == "seed" and experiment.trainable == SCRIPT
            if key in names and not is_own_seed:
                raise ExperimentError(f"{table}.{key}: is a reserved name; choose another")


def check_script_tables(table: Mapping[str, Any]) -> None:
    """Raise ExperimentError for tables of a script where another trainable is named."""
    trainable = table.get("trainable")
    if not isinstance(trainable, str) or trainable == SCRIPT:
        return
    for key in ("script", "inputs"):
        if table.get(key) is not None:
            raise ExperimentError(
                f'{key}: is only for trainable = "{SCRIPT}"; this tunes {trainable!r}:'
                " leave one of them out"
            )


def _check_script(experiment: "Experiment") -> None:
    if experiment.trainable != SCRIPT:
        return
    if experiment.script is None:
        raise ExperimentError("script.entry_point: is missing; name the script by --entry-point")
    experiment.script.check_metric(experiment.metric)
    experiment.script.check_styles(_values(experiment))


def _values(experiment: "Experiment") -> dict[str, Sequence[Any]]:
    """Return the values of each parameter; of a range, one end, which has the type of all."""
    return {
        **{
            name: entry["values"] if "values" in entry else [entry["low"]]
            for name, entry in experiment.space.items()
        },
        **{name: [value] for name, value in experiment.fixed.items()},
    }
