"""The trials of a tuning job and the curves of a training job as tables of pandas."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.run import journal
from app.run.journal import JOURNAL
from app.sagemaker import description
from app.sagemaker.aws import ignore
from app.sagemaker.description import Definition, Described
from app.sagemaker.session import Session
from app.sagemaker.trials import trial_of
from app.storage import remote_folder

if TYPE_CHECKING:
    import pandas

DATES = ("TrainingStartTime", "TrainingEndTime")


class HyperparameterTuningJobAnalytics:
    """A tuning job's trials as a table; read anew at every call."""

    def __init__(
        self, hyperparameter_tuning_job_name: str, sagemaker_session: Session | None = None
    ) -> None:
        """The job of that name."""
        self.name = hyperparameter_tuning_job_name
        self._session = sagemaker_session or Session()

    def training_job_summaries(self, force_refresh: bool = False) -> list[Described]:
        """What SageMaker says of each training job."""
        return [summary for each in self._definitions() for summary in each.summaries()]

    def description(self, force_refresh: bool = False) -> Described:
        """What `describe` says."""
        return description.describe(self._definitions(), self.name)

    @property
    def tuning_ranges(self) -> dict[str, Any]:
        """What is searched, by parameter; by estimator and parameter where there are several."""
        found = self._definitions()
        told = {
            each.name: {name: one.as_tuning_range(name) for name, one in each.ranges.items()}
            for each in found
        }
        return told if found[0].name else told[""]

    def dataframe(self, force_refresh: bool = False) -> "pandas.DataFrame":
        """A row for each trial: its values, name, status, final objective, times and seconds."""
        import pandas

        frame = pandas.DataFrame(
            [_row(each, trial) for each in self._definitions() for trial in _trials(each)]
        )
        for name in DATES:
            if name in frame:
                frame[name] = pandas.to_datetime(frame[name])
        return frame

    def export_csv(self, filename: str | Path) -> None:
        """Write the table."""
        self.dataframe().to_csv(filename)

    def clear_cache(self) -> None:
        """Nothing: what is asked for is read when it is asked for."""

    def _definitions(self) -> list[Definition]:
        return description.definitions(self._session.runs, self.name)


class TrainingJobAnalytics:
    """What a training job reported as it went on."""

    def __init__(
        self,
        training_job_name: str,
        metric_names: Sequence[str] | None = None,
        sagemaker_session: Session | None = None,
        **aws: Any,
    ) -> None:
        """The trial of that name, and these metrics or all; every value, not one a minute."""
        ignore(aws)
        self.name = training_job_name
        self._metrics = metric_names
        self._session = sagemaker_session or Session()

    def dataframe(self, force_refresh: bool = False) -> "pandas.DataFrame":
        """A row for each value: seconds since the training began, the metric, the value."""
        import pandas

        rows = list(self._rows())
        return pandas.DataFrame(rows, columns=["timestamp", "metric_name", "value"])

    def export_csv(self, filename: str | Path) -> None:
        """Write the table."""
        self.dataframe().to_csv(filename)

    def _rows(self) -> Iterator[tuple[float, str, float]]:
        run, trial_id = trial_of(self._session, self.name)
        seconds = 0.0
        remote_folder.refresh(run.folder, JOURNAL)
        for event in journal.read(run.folder / JOURNAL):
            if event["event"] == "epoch" and event["trial_id"] == trial_id:
                seconds += event["seconds"]
                for name, value in event["metrics"].items():
                    if self._metrics is None or name in self._metrics:
                        yield seconds, name, value


def _trials(definition: Definition) -> list[dict[str, Any]]:
    trials: list[dict[str, Any]] = definition.run.result["trials"]
    return trials


def _row(definition: Definition, trial: dict[str, Any]) -> dict[str, Any]:
    told = definition.summary(trial)
    began, ended = told.get("TrainingStartTime"), told.get("TrainingEndTime")
    elapsed = (ended - began).total_seconds() if began and ended else trial["seconds"]
    row = {
        **trial["config"],
        "TrainingJobName": told["TrainingJobName"],
        "TrainingJobStatus": told["TrainingJobStatus"],
        "FinalObjectiveValue": trial["metrics"].get(definition.asked.metric),
        "TrainingStartTime": began,
        "TrainingEndTime": ended,
        "TrainingElapsedTimeSeconds": elapsed,
    }
    return {**row, "TrainingJobDefinitionName": definition.name} if definition.name else row
