"""What a trial's script left, as a model folder that is served by the script's own handlers."""

from collections.abc import Mapping
from pathlib import Path

from app.experiment import Experiment
from app.journal import Trial
from app.script import CODE
from app.store import trial_folder
from serve.bundle import write_handlers
from serve.manifest import Manifest
from trainables.child import wait_until_free
from trainables.container import Tree
from trainables.contract import TrainableError


def export(folder: Path, experiment: Experiment, trial: Trial, model: Path) -> None:
    """Make the model folder of a trial of the run in `folder`, whole or not at all.

    Raises TrainableError where the script saved nothing, ArtifactError or OSError where what it
    saved cannot be a model's.
    """
    table = experiment.script
    assert table is not None  # only scripts leave anything
    reported = trial.best_epoch or {}
    manifest = Manifest(
        experiment.name,
        # Handlers are functions of a Python file; without one the defaults serve.
        entry_point=table.name if table.name.endswith(".py") else None,
        run=folder.name,
        trial_id=trial.trial_id,
        epoch=reported.get("epoch"),
        config=trial.config,
        metrics={name: value for name, value in reported.items() if name != "epoch"},
    )
    write_handlers(model, manifest, saved(folder, trial.trial_id), _program(folder / CODE))


def saved(folder: Path, trial_id: str) -> Path:
    """The folder with what a trial's script saved of its model, and nothing else.

    Raises TrainableError where it saved none.
    """
    tree = Tree(trial_folder(folder, trial_id))
    wait_until_free(tree.lock)
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
