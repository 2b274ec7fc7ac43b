"""Names in a function's module by which its model is exported, as names of a class."""

from pathlib import Path
from types import ModuleType
from typing import Any

from trainables.contract import TrainableError

LOAD_MODEL = "load_model"
FUNCTIONS = ("example_input", "evaluate", "labelled_examples")
VALUES = ("labels", "output_meaning", "input_range", "input_name", "output_name")


def exported_names(module: ModuleType | None) -> dict[str, Any]:
    """Return what a class needs to be exported, from a module that has `load_model`.

    From one without it come functions alone, which the check misses `load_model` by: values of such
    names, as `labels`, may be anything there.
    """
    known = {} if module is None else vars(module)
    functions = {name: staticmethod(known[name]) for name in FUNCTIONS if name in known}
    load_model = known.get(LOAD_MODEL)
    if load_model is None:
        return functions

    def model(trial: Any) -> Any:
        """Load the network from the checkpoint that the function reported with this epoch."""
        return load_model(_checkpoint_of_epoch(trial), dict(trial.values))

    values = {name: known[name] for name in VALUES if name in known}
    return {"model": model, **functions, **values}


def _checkpoint_of_epoch(trial: Any) -> Path:
    """Return the checkpoint of a trial's epoch; raises TrainableError where it is older."""
    if trial.last_checkpoint is None or trial.last_checkpoint_reports != trial.iteration:
        last = trial.last_checkpoint_reports
        before = f"; its last one is of epoch {last}" if last else ""
        raise TrainableError(
            f"{type(trial).__name__}() reported no checkpoint with epoch {trial.iteration}{before};"
            " give each report one, by checkpoint=Checkpoint.from_directory(folder)"
        )
    return Path(trial.last_checkpoint)
