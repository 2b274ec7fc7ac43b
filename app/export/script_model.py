"""The files that a trial's script saved, as a model folder served by the script's own handlers."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from app.experiment.run_folder import CODE
from app.experiment.schema import Experiment
from app.export.servable import bound_names
from app.run.trial import Trial
from app.storage.run_storage import run_storage
from app.storage.trial_files import trial_folder
from serve.handlers.script_handlers import ARGUMENTS
from serve.models.archive import write_handlers
from serve.models.manifest import Manifest
from trainables.contract import TrainableError
from trainables.script.process import wait_until_free
from trainables.script.tree import Tree

INFERENCE = "inference.py"
"""The file in which SageMaker looks for handlers by default."""


def export_script(
    run_folder: Path, experiment: Experiment, trial: Trial, model: Path
) -> int | None:
    """Write the model folder of a script's trial, whole or not at all.

    A script saves its model when it ends, so the model is of its last epoch, whichever of its
    values counts in the search.

    Returns:
        The epoch of the model; None if the script reported none.

    Raises:
        TrainableError: The script saved nothing.
        ArtifactError: The files that it saved cannot be served.
        OSError: The model folder cannot be written.
    """
    source = experiment.script_source
    assert source is not None
    last = trial.history[-1] if trial.history else None
    files, program = model_files(run_folder, trial.trial_id), _read_code(run_folder / CODE)
    manifest = Manifest(
        experiment.name,
        entry_point=_entry_point(source.name, program, files / CODE),
        run=run_folder.name,
        trial_id=trial.trial_id,
        epoch=None if last is None else last.number,
        config={**experiment.constants(trial.number()), **trial.config},
        metrics={} if last is None else dict(last.metrics),
    )
    write_handlers(model, manifest, files, program)
    return manifest.epoch


def model_files(run_folder: Path, trial_id: str) -> Path:
    """Return the folder that a trial's script was given as `SM_MODEL_DIR`, fetched if remote.

    Raises:
        TrainableError: The folder is empty.
        StorageError: It cannot be fetched.
    """
    tree = Tree(trial_folder(run_folder, trial_id))
    wait_until_free(tree.lock)
    run_storage(run_folder).download_folder(tree.model.relative_to(run_folder).as_posix())
    if not tree.model.is_dir() or not any(tree.model.iterdir()):
        raise TrainableError(f"the script of trial {trial_id} saved nothing in SM_MODEL_DIR")
    return tree.model


def _read_code(folder: Path) -> Mapping[str, bytes]:
    """Return the script's files by path, without those below linked folders, which are data."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in files
        if "__pycache__" not in path.parts
    }


def _entry_point(script: str, program: Mapping[str, bytes], saved_code: Path) -> str | None:
    """Return the file that defines the handlers: the script, or an `inference.py`.

    None if there is no Python file; the default handlers then serve. `saved_code` is the folder of
    code that the script may have saved in its model.
    """
    if script.endswith(".py") and _defines_handlers(program[script]):
        return script
    beside = str(PurePosixPath(script).with_name(INFERENCE))
    for name in (beside, INFERENCE):
        if name in program or (saved_code / name).is_file():
            return name
    return script if script.endswith(".py") else None


def _defines_handlers(source: bytes) -> bool:
    """Whether a program defines a handler, or may import one by `import *`."""
    names = bound_names(source)
    return names is None or not {*ARGUMENTS, "*"}.isdisjoint(names)
