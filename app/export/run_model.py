"""The model of a run: made of a trial's checkpoint, or of what its script saved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.experiment.schema import Experiment, ExperimentError
from app.export import script_model
from app.export.trial_source import Source, best_source
from app.export.user_errors import ExportError
from app.run.journal import Journal, Trial
from serve.models.manifest import ArtifactError
from trainables.contract import TrainableError

if TYPE_CHECKING:
    from ray.tune import Trainable

MODEL = "model"
"""The exported model's folder within a run's."""
WEIGHTS = "weights.safetensors"
"""The file within a run's folder that has the best trial's weights where it gives no model."""


class ModelError(Exception):
    """Why a trial gives no model, in one sentence."""

    def __init__(self, sentence: str, *, is_fault: bool = True) -> None:
        """`is_fault` is False where there is nothing to export, which is no mistake."""
        super().__init__(sentence)
        self.is_fault = is_fault


@dataclass(frozen=True)
class Made:
    """The model that was made."""

    trial_id: str
    epoch: int | None
    remarks: Sequence[str] = ()
    """What the user should know of it."""

    @property
    def of(self) -> dict[str, Any]:
        """What it is of, as `result.json` says it."""
        return {"trial_id": self.trial_id, "epoch": self.epoch}


@dataclass(frozen=True)
class Maker:
    """All that is needed to make models of a run's trials."""

    journal: Journal
    experiment: Experiment
    trainable: "type[Trainable]"
    shared: Mapping[str, Any]

    @property
    def gives_models(self) -> bool:
        """Whether the trainable is a class that gives a network to export."""
        return hasattr(self.trainable, "model")

    def source(self, trial: Trial) -> Source:
        """The trial at its best epoch; raises ExportError where it has no checkpoint of it."""
        run = self.journal.folder
        return best_source(run, self.experiment, self.trainable, self.shared, trial)

    def best(self, trial: Trial) -> Made:
        """Make the run's model of its best trial; the journal says so, or why there is none.

        Raises ModelError where there is none; the weights alone are then kept where they can be.
        """
        record, weights = self.journal.record, self.journal.folder / WEIGHTS
        try:
            made = self.make(trial, self.journal.folder / MODEL, weights=weights)
        except ModelError as error:
            told = str(error)
            if told != record.model_error:
                self.journal.append("model", model=None, error=told, failed=error.is_fault)
            raise
        self.keep(made)
        return made

    def keep(self, made: Made) -> None:
        """Record a model of the best trial as the run's, which takes the place of weights alone."""
        (self.journal.folder / WEIGHTS).unlink(missing_ok=True)
        self.journal.append("model", model=MODEL, of=made.of, error=None, failed=False)

    def other(self, trial: Trial) -> Made:
        """Make the run's model of another trial than the best; `model_error` stays as it was.

        Raises ModelError where it gives none.
        """
        made, record = self.make(trial, self.journal.folder / MODEL), self.journal.record
        before = {"error": record.model_error, "failed": record.export_failed}
        self.journal.append("model", model=MODEL, of=made.of, **before)
        return made

    def make(self, trial: Trial, folder: Path, *, weights: Path | None = None) -> Made:
        """Make a model folder of the trial, whole or not at all; raises ModelError.

        Where that fails and `weights` is given, the network's weights are written there.
        """
        if self.experiment.script is not None:
            return self._of_script(trial, folder)
        if not self.gives_models:
            raise ModelError(nothing_to_export(self.experiment), is_fault=False)
        from app.export.onnx_model import export  # It is slow to import.

        try:
            source = self.source(trial)
            exported = export(source, folder, weights=weights)
        except ExportError as error:
            raise ModelError(f"trial {trial.trial_id} cannot be exported: {error}") from error
        return Made(trial.trial_id, source.epoch["epoch"], exported.remarks)

    def _of_script(self, trial: Trial, folder: Path) -> Made:
        run = self.journal.folder
        try:
            epoch = script_model.export(run, self.experiment, trial, folder)
        except TrainableError as error:
            raise ModelError(f"{error}: there is no model", is_fault=False) from error
        except (ArtifactError, OSError) as error:
            raise ModelError(f"trial {trial.trial_id} cannot be exported: {error}") from error
        return Made(trial.trial_id, epoch)


def check_given(experiment: Experiment, trainable: "type[Trainable]", flag: str) -> None:
    """Raise ExperimentError where a flag needs a model and the trainable can give none."""
    if experiment.script is None and not hasattr(trainable, "model"):
        raise ExperimentError(f"{flag}: {nothing_to_export(experiment)}")


def nothing_to_export(experiment: Experiment) -> str:
    """Say that a trainable gives no model."""
    return f"{experiment.trainable} has no model(): there is nothing to export"
