"""The model of a trial, by the kind of the trial: a network's checkpoint, or a script's files."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.experiment.schema import Experiment
from app.export.script_model import export_script
from app.export.trial_snapshot import (
    TrialEpoch,
    TrialSnapshot,
    best_epoch_of,
    best_snapshot,
    copy_snapshot,
)
from app.export.user_code import ExportError
from app.run.trial import Trial
from serve.models.manifest import ArtifactError
from trainables.contract import TrainableError

if TYPE_CHECKING:
    from ray.tune import Trainable


class NoModelError(Exception):
    """The reason that a trial has no model, in one sentence."""

    def __init__(self, sentence: str, *, is_fault: bool = True) -> None:
        """Set `is_fault` to False if there is nothing to export, which is no mistake."""
        super().__init__(sentence)
        self.is_fault = is_fault


@dataclass(frozen=True)
class ExportedModel:
    """A model that was written."""

    trial_id: str
    epoch: int | None
    remarks: Sequence[str] = ()
    """Sentences for the user on how the network was changed."""

    def as_json(self) -> dict[str, Any]:
        """Return the trial and the epoch as `result.json` has them under `model_of`."""
        return {"trial_id": self.trial_id, "epoch": self.epoch}


@dataclass(frozen=True)
class ExportJob:
    """An export from files of its own, which can wait while the search goes on."""

    trial_epoch: TrialEpoch
    """The trial, and the epoch whose value counts."""
    export: Callable[[Path], ExportedModel]
    """Writes a model folder; raises any exception."""
    delete_files: Callable[[], None]


@dataclass(frozen=True)
class TrialModels(ABC):
    """Exports the models of a run's trials."""

    run_folder: Path
    experiment: Experiment
    trainable: "type[Trainable]"
    shared: Mapping[str, Any]

    @staticmethod
    @abstractmethod
    def is_exportable(trainable: "type[Trainable]") -> bool:
        """Whether trials of a trainable may have a model."""

    @property
    @abstractmethod
    def has_network(self) -> bool:
        """Whether trials have a network, whose export can be checked before they end."""

    @abstractmethod
    def is_ready(self, trial: Trial) -> bool:
        """Whether the model of a trial can be exported while the search goes on."""

    @abstractmethod
    def export(self, trial: Trial, folder: Path, weights: Path | None) -> ExportedModel:
        """Write a model folder of a trial, as `ModelExporter.export` does."""

    @abstractmethod
    def export_job(self, trial: Trial, wait_for_upload: Callable[[str], None]) -> ExportJob:
        """Copy what an export of a trial needs.

        Args:
            trial: The trial.
            wait_for_upload: Returns once the files that a trial's script saved are complete.

        Raises:
            ExportError: The trial has no checkpoint.
            StorageError: Its checkpoint cannot be fetched.
            OSError: Its checkpoint cannot be copied.
        """


class NetworkModels(TrialModels):
    """Exports the network of a trainable at the trial's best epoch, as ONNX."""

    @staticmethod
    def is_exportable(trainable: "type[Trainable]") -> bool:
        """Whether the trainable is a class with `model`, or a function with `load_model`."""
        return hasattr(trainable, "model")

    @property
    def has_network(self) -> bool:
        """Whether the trainable is a class with `model`, or a function with `load_model`."""
        return self.is_exportable(self.trainable)

    def is_ready(self, trial: Trial) -> bool:
        """Always: each epoch has a checkpoint."""
        return True

    def _snapshot(self, trial: Trial) -> TrialSnapshot:
        return best_snapshot(self.run_folder, self.experiment, self.trainable, self.shared, trial)

    def export(self, trial: Trial, folder: Path, weights: Path | None) -> ExportedModel:
        """Write an ONNX model, or the network's weights alone."""
        if not self.has_network:
            sentence = nothing_to_export(self.experiment, self.trainable)
            raise NoModelError(sentence, is_fault=False)
        try:
            return _export_network(self._snapshot(trial), folder, weights)
        except ExportError as error:
            raise NoModelError(f"trial {trial.trial_id} cannot be exported: {error}") from error

    def export_job(self, trial: Trial, wait_for_upload: Callable[[str], None]) -> ExportJob:
        """Copy the checkpoint."""
        copy, delete_files = copy_snapshot(self._snapshot(trial))
        return ExportJob(
            best_epoch_of(trial), lambda folder: _export_network(copy, folder, None), delete_files
        )


class ScriptModels(TrialModels):
    """Exports the files that a script saved when it ended."""

    @staticmethod
    def is_exportable(trainable: "type[Trainable]") -> bool:
        """Always: a script may save a model, but only its end shows it."""
        return True

    @property
    def has_network(self) -> bool:
        """Never in this process."""
        return False

    def is_ready(self, trial: Trial) -> bool:
        """Once the script has ended."""
        return trial.is_finished

    def export(self, trial: Trial, folder: Path, weights: Path | None) -> ExportedModel:
        """Write a model that the script's handlers serve; it has no weights of its own."""
        try:
            return self._export(trial, folder)
        except TrainableError as error:
            raise NoModelError(f"{error}: there is no model", is_fault=False) from error
        except (ArtifactError, OSError) as error:
            raise NoModelError(f"trial {trial.trial_id} cannot be exported: {error}") from error

    def export_job(self, trial: Trial, wait_for_upload: Callable[[str], None]) -> ExportJob:
        """Wait for the upload of the files in the job: nothing else writes to them."""
        copy = replace(trial)

        def export(folder: Path) -> ExportedModel:
            wait_for_upload(copy.trial_id)
            return self._export(copy, folder)

        return ExportJob(best_epoch_of(trial), export, lambda: None)

    def _export(self, trial: Trial, folder: Path) -> ExportedModel:
        epoch = export_script(self.run_folder, self.experiment, trial, folder)
        return ExportedModel(trial.trial_id, epoch)


MODELS: Mapping[str, type[TrialModels]] = {"python": NetworkModels, "script": ScriptModels}
"""Exports by the name of the trials' kind."""


def nothing_to_export(experiment: Experiment, trainable: "type[Trainable]") -> str:
    """Say that a trainable has no network."""
    missing = getattr(trainable, "model_signature", "model()")
    return f"{experiment.trainable} has no {missing}: there is nothing to export"


def _export_network(snapshot: TrialSnapshot, folder: Path, weights: Path | None) -> ExportedModel:
    from app.export.onnx_model import export_onnx  # imports torch, which is slow

    remarks = export_onnx(snapshot, folder, weights=weights).remarks
    number, best = snapshot.epoch.number, best_epoch_of(snapshot.trial).epoch
    if number != best:
        remark = f"its best epoch, {best}, has no checkpoint; the model is of epoch {number}"
        remarks = (*remarks, remark)
    return ExportedModel(snapshot.trial.trial_id, number, remarks)
