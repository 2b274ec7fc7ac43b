"""The model of a run: exported from one of its trials, and recorded in its journal."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.experiment.errors import ExperimentError
from app.experiment.schema import Experiment
from app.export.trial_models import (
    MODELS,
    ExportedModel,
    NoModelError,
    TrialModels,
    nothing_to_export,
)
from app.run.journal import Journal
from app.run.layout import MODEL, WEIGHTS
from app.run.trial import Trial

if TYPE_CHECKING:
    from ray.tune import Trainable


@dataclass(frozen=True)
class ModelExporter:
    """Exports models of a run's trials and records them in its journal."""

    journal: Journal
    experiment: Experiment
    trainable: "type[Trainable]"
    shared: Mapping[str, Any]

    @property
    def models(self) -> TrialModels:
        """The exports for the kind of the run's trials."""
        models = MODELS[self.experiment.kind.name]
        return models(self.journal.folder, self.experiment, self.trainable, self.shared)

    @property
    def has_model(self) -> bool:
        """Whether trials may have a model."""
        return self.models.is_exportable(self.trainable)

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
        return self.models.export(trial, folder, weights)


def check_has_model(experiment: Experiment, trainable: "type[Trainable]", flag: str) -> None:
    """Raise ExperimentError if a flag needs a model and the trainable has none."""
    if not MODELS[experiment.kind.name].is_exportable(trainable):
        raise ExperimentError(f"{flag}: {nothing_to_export(experiment, trainable)}")
