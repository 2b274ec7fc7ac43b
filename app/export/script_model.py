"""What a trial's script left, as a model folder that is served by the script's own handlers."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from app.experiment.run_folder import CODE
from app.experiment.schema import Experiment
from app.run.journal import Trial
from app.run.store import trial_folder
from app.storage.remote_folder import fetched
from serve.handlers.script_handlers import ARGUMENTS
from serve.models.archive import write_handlers
from serve.models.manifest import Manifest
from serve.runtime.servable import bound_names
from trainables.contract import TrainableError
from trainables.script.environment import Tree
from trainables.script.process import wait_until_free

INFERENCE = "inference.py"
"""Where SageMaker looks for handlers unless it is told of another file."""


def export(folder: Path, experiment: Experiment, trial: Trial, model: Path) -> int | None:
    """Make the model folder of a trial of the run in `folder`, whole or not at all.

    What a script saved is what it had when it ended: the model is of its last epoch, which is
    given back, whichever of its values counts in the search; None where it reported none.

    Raises TrainableError where the script saved nothing, ArtifactError or OSError where what it
    saved cannot be a model's.
    """
    table = experiment.script
    assert table is not None  # only scripts leave anything
    reported = trial.history[-1] if trial.history else {}
    files, program = saved(folder, trial.trial_id), _program(folder / CODE)
    manifest = Manifest(
        experiment.name,
        entry_point=_entry_point(table.name, program, files / CODE),
        run=folder.name,
        trial_id=trial.trial_id,
        epoch=reported.get("epoch"),
        config={**experiment.given(trial.number()), **trial.config},
        metrics={name: value for name, value in reported.items() if name != "epoch"},
    )
    write_handlers(model, manifest, files, program)
    return manifest.epoch


def saved(folder: Path, trial_id: str) -> Path:
    """The folder with what a trial's script saved of its model, and nothing else.

    Raises TrainableError where it saved none, PlaceError where it cannot be fetched.
    """
    tree = Tree(trial_folder(folder, trial_id))
    wait_until_free(tree.lock)
    fetched(folder, tree.model.relative_to(folder).as_posix())
    if not tree.model.is_dir() or not any(tree.model.iterdir()):
        raise TrainableError(f"the script of trial {trial_id} saved nothing in SM_MODEL_DIR")
    return tree.model


def _program(code: Path) -> Mapping[str, bytes]:
    """The script's code without links to data that were in its folder."""
    files = (path for path in sorted(code.rglob("*")) if path.is_file())
    return {
        path.relative_to(code).as_posix(): path.read_bytes()
        for path in files
        if "__pycache__" not in path.parts
    }


def _entry_point(script: str, program: Mapping[str, bytes], own: Path) -> str | None:
    """The file with the handlers: the script's, or the one in which SageMaker looks for them.

    Without a Python file the defaults serve. The script may have saved code of its `own`.
    """
    if script.endswith(".py") and _has_handlers(program[script]):
        return script
    beside = str(PurePosixPath(script).with_name(INFERENCE))
    for name in (beside, INFERENCE):
        if name in program or (own / name).is_file():
            return name
    return script if script.endswith(".py") else None


def _has_handlers(source: bytes) -> bool:
    """Whether a program binds the name of a handler itself, or may do so by `import *`."""
    names = bound_names(source)
    return names is None or not {*ARGUMENTS, "*"}.isdisjoint(names)
