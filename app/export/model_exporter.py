"""The model of a run: exported from a trial's checkpoint, or from the files its script saved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.experiment.errors import ExperimentError
from app.experiment.schema import Experiment
from app.export import script_model
from app.export.trial_snapshot import TrialSnapshot, best_snapshot
from app.export.user_code import ExportError
from app.run.journal import Journal
from app.run.trial import Trial
from serve.models.manifest import ArtifactError
from trainables.contract import TrainableError

if TYPE_CHECKING:
    from ray.tune import Trainable

MODEL = "model"
"""The folder of a run's model, within the run's."""
WEIGHTS = "weights.safetensors"
"""The file of the best trial's weights, in the run's folder, if no model can be made of it."""


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
class ModelExporter:
    """Exports models of a run's trials and records them in its journal."""

    journal: Journal
    experiment: Experiment
    trainable: "type[Trainable]"
    shared: Mapping[str, Any]

    @property
    def has_model(self) -> bool:
        """Whether the trainable is a class with a network to export."""
        return hasattr(self.trainable, "model")

    def snapshot(self, trial: Trial) -> TrialSnapshot:
        """Return the trial at its best epoch; raise ExportError if it has no checkpoint of it."""
        run = self.journal.folder
        return best_snapshot(run, self.experiment, self.trainable, self.shared, trial)

    def export_best(self, trial: Trial) -> ExportedModel:
        """Export the run's best trial as the run's model, and record it or why there is none.

        Raises:
            NoModelError: There is no model; the weights are then saved alone if possible.
        """
        record, weights = self.journal.record, self.journal.folder / WEIGHTS
        try:
            model = self.export(trial, self.journal.folder / MODEL, weights=weights)
        except NoModelError as error:
            sentence = str(error)
            if sentence != record.model_error:
                self.journal.append("model", model=None, error=sentence, failed=error.is_fault)
            raise
        self.record_best(model)
        return model

    def record_best(self, model: ExportedModel) -> None:
        """Record a model of the best trial as the run's, and remove weights that stood for it."""
        (self.journal.folder / WEIGHTS).unlink(missing_ok=True)
        self.journal.append("model", model=MODEL, of=model.as_json(), error=None, failed=False)

    def export_other(self, trial: Trial) -> ExportedModel:
        """Export a trial other than the best as the run's model; its `model_error` stays.

        Raises:
            NoModelError: There is no model.
        """
        model, record = self.export(trial, self.journal.folder / MODEL), self.journal.record
        before = {"error": record.model_error, "failed": record.export_failed}
        self.journal.append("model", model=MODEL, of=model.as_json(), **before)
        return model

    def export(self, trial: Trial, folder: Path, *, weights: Path | None = None) -> ExportedModel:
        """Write a model folder of a trial, whole or not at all.

        Args:
            trial: The trial, at its best epoch; a script's, at its last.
            folder: The model folder.
            weights: A file to which a network's weights are written if the export fails.

        Raises:
            NoModelError: There is no model.
        """
        if self.experiment.script is not None:
            return self._export_script(trial, folder)
        if not self.has_model:
            raise NoModelError(_nothing_to_export(self.experiment), is_fault=False)
        from app.export.onnx_model import export_onnx  # imports torch, which is slow

        try:
            snapshot = self.snapshot(trial)
            remarks = export_onnx(snapshot, folder, weights=weights).remarks
        except ExportError as error:
            raise NoModelError(f"trial {trial.trial_id} cannot be exported: {error}") from error
        return ExportedModel(trial.trial_id, snapshot.epoch.number, remarks)

    def _export_script(self, trial: Trial, folder: Path) -> ExportedModel:
        run = self.journal.folder
        try:
            epoch = script_model.export_script(run, self.experiment, trial, folder)
        except TrainableError as error:
            raise NoModelError(f"{error}: there is no model", is_fault=False) from error
        except (ArtifactError, OSError) as error:
            raise NoModelError(f"trial {trial.trial_id} cannot be exported: {error}") from error
        return ExportedModel(trial.trial_id, epoch)


def check_has_model(experiment: Experiment, trainable: "type[Trainable]", flag: str) -> None:
    """Raise ExperimentError if a flag needs a model and the trainable has none."""
    if experiment.script is None and not hasattr(trainable, "model"):
        raise ExperimentError(f"{flag}: {_nothing_to_export(experiment)}")


def _nothing_to_export(experiment: Experiment) -> str:
    return f"{experiment.trainable} has no model(): there is nothing to export"
