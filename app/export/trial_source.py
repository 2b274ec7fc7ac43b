"""A trial of a run, with all that is needed to build it again in this process."""

import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.experiment.schema import Experiment
from app.export.user_errors import ExportError
from app.run import store
from app.run.journal import PARTIAL, Epoch, Trial
from app.storage.remote_folder import fetched

if TYPE_CHECKING:
    from ray.tune import Trainable


@dataclass(frozen=True)
class Source:
    """The trial that is exported, and all that is needed to build it again."""

    folder: Path
    """The run's."""
    experiment: Experiment
    trainable: "type[Trainable]"
    shared: Mapping[str, Any]
    trial: Trial
    epoch: Epoch
    checkpoint: Path | None
    """What the trial goes on from; None where it has not begun."""
    trial_folder: Path
    """The folder of its own that the trial may have made."""

    @property
    def config(self) -> dict[str, Any]:
        """All that the trial was set up with: its values, the fixed ones and the seed."""
        return {**self.experiment.given(self.trial.number()), **self.trial.config}


def best_source(
    folder: Path,
    experiment: Experiment,
    trainable: "type[Trainable]",
    shared: Mapping[str, Any],
    trial: Trial,
) -> Source:
    """The trial at its best epoch; raises ExportError where it has no checkpoint of it."""
    epoch = trial.best_epoch
    if epoch is None:
        raise ExportError(f"it reported no finite {experiment.metric}")
    name = trial.checkpoints.get(epoch["epoch"])
    checkpoint = None if name is None else fetched(folder, name)
    if checkpoint is None or not checkpoint.is_dir():
        raise ExportError(f"it has no checkpoint of its best epoch, {epoch['epoch']}")
    own = store.trial_folder(folder, trial.trial_id)
    return Source(folder, experiment, trainable, shared, trial, epoch, checkpoint, own)


def first_source(
    folder: Path,
    experiment: Experiment,
    trainable: "type[Trainable]",
    shared: Mapping[str, Any],
) -> Source:
    """A source for a trial with a value from the space, before any trial has begun."""
    trial = Trial("000", next(iter(experiment.parameters.extremes())))
    own = store.trial_folder(folder, trial.trial_id)
    return Source(folder, experiment, trainable, shared, trial, {"epoch": 0}, None, own)


def apart(source: Source) -> tuple[Source, Callable[[], None]]:
    """Copy a source's files, which the search may remove; returns the copy and what deletes it.

    Raises OSError.
    """
    # The search removes a checkpoint once a better one is there.
    copy = source.folder / f".{secrets.token_hex(4)}{PARTIAL}"
    copy.mkdir()
    if source.checkpoint is not None:
        shutil.copytree(source.checkpoint, copy / "checkpoint", copy_function=_linked)
    if source.trial_folder.is_dir():
        shutil.copytree(source.trial_folder, copy / "trial")
    kept = replace(
        source,
        trial=replace(source.trial),
        checkpoint=None if source.checkpoint is None else copy / "checkpoint",
        trial_folder=copy / "trial",
    )
    return kept, lambda: shutil.rmtree(copy, ignore_errors=True)


def _linked(source: str, target: str) -> None:
    """A second name for a file, which nobody changes; a copy where the disk knows no such names."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
