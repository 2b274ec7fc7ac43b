"""What a trial's script left: the files of its model, and the code that goes with them."""

from dataclasses import dataclass
from pathlib import Path

from app.script import CODE, ScriptTable
from app.store import trial_folder
from trainables.child import wait_until_free
from trainables.container import Tree
from trainables.contract import TrainableError


@dataclass(frozen=True)
class Collected:
    """What a trial's script left, and its code."""

    model: Path
    """The folder with what the script saved of its model, and nothing else."""
    code: Path
    """The folder with the script as the run began with it."""
    entry_point: str
    """The script, seen from that folder."""


def collected(folder: Path, table: ScriptTable, trial_id: str) -> Collected:
    """What a trial of the run in this folder left, once its script has ended.

    Raises TrainableError where it saved no model.
    """
    tree = Tree(trial_folder(folder, trial_id))
    wait_until_free(tree.lock)
    if not tree.model.is_dir() or not any(tree.model.iterdir()):
        raise TrainableError(f"the script of trial {trial_id} saved nothing in SM_MODEL_DIR")
    return Collected(tree.model, folder / CODE, table.name)
