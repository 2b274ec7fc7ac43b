"""Checks before a run starts, and the data that its trials share."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trainables
from app.experiment.errors import ExperimentError
from app.experiment.schema import Experiment
from app.export.model_exporter import check_has_model
from serve.handlers import stubs
from trainables.contract import TrainableError

if TYPE_CHECKING:
    from ray.tune import Trainable


@dataclass(frozen=True)
class Prepared:
    """The trainable of a run, and what its trials share."""

    trainable: "type[Trainable]"
    shared: Mapping[str, Any]
    digests: dict[str, str]
    """Digests of the shared data that has one, by name."""


def prepare(experiment: Experiment, folder: Path) -> Prepared:
    """Import the trainable, check its configurations and load the data of the run in `folder`.

    Raises ExperimentError or TrainableError for what is wrong.
    """
    trainable = trainables.resolve(experiment.trainable, experiment.folder)
    experiment.kind.check_workers(trainable)
    asked = experiment.resources
    if asked.cpus_per_trial is None and asked.gpus_per_trial is None:
        trainables.check_resources(trainable, experiment.trainable)
    check_configs(experiment, trainable)
    if not hasattr(trainable, "shared") and (experiment.data_dir or experiment.download):
        raise TrainableError(f"--data-dir: {experiment.trainable} has no shared() that reads it")
    shared = experiment.kind.shared(trainable, folder, stubs.path)
    return Prepared(trainable, shared, experiment.kind.digests(shared))


def prepare_export(experiment: Experiment, folder: Path) -> Prepared:
    """Prepare for an export alone, which needs no data where trials save their own models."""
    if experiment.kind.saves_model:
        return Prepared(trainables.resolve(experiment.trainable, experiment.folder), {}, {})
    return prepare(experiment, folder)


def check_flag(experiment: Experiment, flag: str) -> None:
    """Raise ExperimentError where the flag needs a model and there will be none."""
    check_has_model(experiment, trainables.resolve(experiment.trainable, experiment.folder), flag)


def check_configs(experiment: Experiment, trainable: "type[Trainable]") -> None:
    """Let the trainable check both ends of every parameter; raises ExperimentError."""
    if not hasattr(trainable, "check_config"):
        return
    for config in experiment.parameters.extremes():
        try:
            trainable.check_config({**experiment.constants(1), **config})
        except ValueError as error:
            # The sentence begins with the parameter's name.
            table = "fixed" if str(error).partition(":")[0] in experiment.fixed else "space"
            raise ExperimentError(f"{table}.{error}") from error
        except KeyError as error:
            raise ExperimentError(
                f"space: {experiment.trainable} needs a parameter {error.args[0]!r};"
                " search it in [space] or give it in [fixed]"
            ) from error
