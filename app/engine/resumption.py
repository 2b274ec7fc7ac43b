"""The experiment of a run that goes on: what was asked then, with what may change now."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.experiment import loading, schema
from app.experiment.early_stopping import with_rule
from app.experiment.errors import ExperimentError
from app.experiment.flags import OF_SCRIPTS
from app.experiment.schema import Experiment, ResourceTable
from app.run import journal, store
from app.run.status import RunStatus

RESOURCES = tuple(ResourceTable.model_fields)
CHANGEABLE = ("num_samples", "max_concurrent", "time_budget", *RESOURCES)
"""Keys of an experiment that may change when a run is resumed; `epochs` may become more."""


def check_no_script_flags(flags: Mapping[str, Any]) -> None:
    """Raise ExperimentError for flags that would give a resumed run another script."""
    for key, flag in OF_SCRIPTS.items():
        if key in flags:
            raise ExperimentError(f"{flag}: a resumed run keeps its script; leave it out")


def resumed_experiment(
    earlier: store.Run, file: Path | None, flags: Mapping[str, Any]
) -> Experiment:
    """Return the experiment of an earlier run, with what flags change in it.

    Args:
        earlier: The run.
        file: A file of the experiment, which must say what the run began with.
        flags: The keys of the experiment that were typed as flags.

    Raises:
        ExperimentError: The file or a flag would change the run's results.
    """
    journal.check_exists(earlier.folder)
    before = store.read_experiment(earlier).as_json()
    typed = dict(flags)
    if "data_dir" in typed:
        typed["data_dir"] = str(Path(typed["data_dir"]).resolve())
    if "early_stopping" in typed:
        typed["early_stopping"] = with_rule(before["early_stopping"], typed["early_stopping"])
    wanted = {**(before if file is None else loading.load(file, {}).as_json()), **typed}
    if "epochs" in typed:
        _check_epochs(earlier, before, typed["epochs"])
        before["epochs"] = typed["epochs"]
    for key, value in before.items():
        if key not in CHANGEABLE and key not in ("resources", "folder") and wanted[key] != value:
            raise ExperimentError(
                f"--resume {earlier.name}: its {key} is {value!r} and cannot become"
                f" {wanted[key]!r}; what may change, by a flag, is {', '.join(CHANGEABLE)} and,"
                " upwards, epochs"
            )
    changes = {key: typed[key] for key in CHANGEABLE if key in typed and key not in RESOURCES}
    resources = {**before["resources"], **{key: typed[key] for key in RESOURCES if key in typed}}
    asked = schema.from_table({**before, **changes, "resources": resources})
    asked.kind.check_environment()
    return asked


def _check_epochs(earlier: store.Run, before: Mapping[str, Any], epochs: int) -> None:
    """Raise ExperimentError for epochs that trials cannot go on to."""
    if epochs == before["epochs"]:
        return
    if "script" in before:
        raise ExperimentError(
            f"--resume {earlier.name}: a script's epochs are one of its arguments, which stay as"
            f" they are; begin a new run for {epochs}"
        )
    if epochs < before["epochs"]:
        raise ExperimentError(
            f"--resume {earlier.name}: its epochs are {before['epochs']} and can only become more,"
            f" got {epochs}"
        )


def is_finished(earlier: store.Run, asked: Experiment) -> bool:
    """Whether a run has completed what is asked of it now."""
    before = store.read_experiment(earlier)
    more = (
        asked.num_samples > before.num_samples
        or asked.epochs > before.epochs
        or asked.time_budget != before.time_budget
    )
    return bool(earlier.result["status"] == RunStatus.COMPLETED) and not more
