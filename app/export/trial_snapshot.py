"""A trial at one epoch, with everything needed to rebuild it in this process."""

import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from app.experiment.schema import Experiment
from app.export.user_code import ExportError, wrap_errors
from app.run.trial import Epoch, Trial
from app.storage.files import PARTIAL
from app.storage.run_storage import run_storage
from app.storage.trial_files import trial_folder

if TYPE_CHECKING:
    from ray.tune import Trainable


class TrialEpoch(NamedTuple):
    """A trial and one of its epochs."""

    trial_id: str
    epoch: int


def best_epoch_of(trial: Trial) -> TrialEpoch:
    """Return the trial and the epoch whose value counts; for trials that have one."""
    assert trial.best_epoch is not None
    return TrialEpoch(trial.trial_id, trial.best_epoch.number)


@dataclass(frozen=True)
class TrialSnapshot:
    """A trial at one epoch: its trainable, configuration and checkpoint."""

    run_folder: Path
    experiment: Experiment
    trainable: "type[Trainable]"
    shared: Mapping[str, Any]
    """Keyword arguments of the trainable's `setup` that all trials share."""
    trial: Trial
    epoch: Epoch
    checkpoint: Path | None
    """The checkpoint of that epoch; None before the first epoch."""
    trial_folder: Path
    """The trial's own folder, which exists if the trainable made it."""

    @property
    def config(self) -> dict[str, Any]:
        """The trial's whole configuration: searched values, fixed ones and the seed."""
        return {**self.experiment.constants(self.trial.number()), **self.trial.config}


def best_snapshot(
    run_folder: Path,
    experiment: Experiment,
    trainable: "type[Trainable]",
    shared: Mapping[str, Any],
    trial: Trial,
) -> TrialSnapshot:
    """Return the trial at its best epoch, or a function's at its last checkpoint up to that.

    Raises:
        ExportError: The trial has no best epoch, or no checkpoint of it.
    """
    epoch = trial.best_epoch
    if epoch is None:
        raise ExportError(f"it reported no finite {experiment.metric}")
    name = trial.checkpoints.get(epoch.number)
    checkpoint = None if name is None else run_storage(run_folder).download_folder(name)
    if checkpoint is None or not checkpoint.is_dir():
        raise ExportError(f"it has no checkpoint of its best epoch, {epoch.number}")
    own = trial_folder(run_folder, trial.trial_id)
    if hasattr(trainable, "epoch_of"):
        epoch = _reported_epoch(trainable, trial, epoch, checkpoint)
    return TrialSnapshot(run_folder, experiment, trainable, shared, trial, epoch, checkpoint, own)


def _reported_epoch(trainable: Any, trial: Trial, best: Epoch, checkpoint: Path) -> Epoch:
    """Return the epoch with which a function reported what its checkpoint has."""
    with wrap_errors("load_checkpoint()"):
        number = trainable.epoch_of(checkpoint)
    if not number:
        raise ExportError(
            f"it reported no checkpoint up to its best epoch, {best.number}; give a report"
            " one, by checkpoint=Checkpoint.from_directory(folder)"
        )
    return next((epoch for epoch in trial.history if epoch.number == number), best)


def untrained_snapshot(
    run_folder: Path,
    experiment: Experiment,
    trainable: "type[Trainable]",
    shared: Mapping[str, Any],
) -> TrialSnapshot:
    """Return a trial with a configuration of the space, before its first epoch."""
    trial = Trial("000", next(iter(experiment.parameters.extremes())))
    own = trial_folder(run_folder, trial.trial_id)
    return TrialSnapshot(run_folder, experiment, trainable, shared, trial, Epoch(0, {}), None, own)


def copy_snapshot(snapshot: TrialSnapshot) -> tuple[TrialSnapshot, Callable[[], None]]:
    """Copy a snapshot's files, since the search removes a checkpoint once a better one exists.

    Returns:
        The copy, and a function that deletes its files.

    Raises:
        OSError: The files cannot be copied.
    """
    folder = snapshot.run_folder / f".{secrets.token_hex(4)}{PARTIAL}"
    folder.mkdir()
    if snapshot.checkpoint is not None:
        shutil.copytree(snapshot.checkpoint, folder / "checkpoint", copy_function=_link_or_copy)
    if snapshot.trial_folder.is_dir():
        shutil.copytree(snapshot.trial_folder, folder / "trial")
    copy = replace(
        snapshot,
        trial=replace(snapshot.trial),
        checkpoint=None if snapshot.checkpoint is None else folder / "checkpoint",
        trial_folder=folder / "trial",
    )
    return copy, lambda: shutil.rmtree(folder, ignore_errors=True)


def _link_or_copy(source: str, target: str) -> None:
    """Hard-link a checkpoint's file, which nobody changes; copy it where links are unsupported."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
