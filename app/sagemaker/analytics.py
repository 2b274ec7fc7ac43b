"""Tables by pandas: the trials of a tuning job, the metrics of a training job by time."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.sagemaker import description
from app.sagemaker.aws import ignore
from app.sagemaker.description import Description, TuningDescription
from app.sagemaker.session import Session
from app.sagemaker.trials import trial_of

if TYPE_CHECKING:
    import pandas

DATES = ("TrainingStartTime", "TrainingEndTime")


class HyperparameterTuningJobAnalytics:
    """A tuning job's trials as a table; every call reads the run again."""

    def __init__(
        self, hyperparameter_tuning_job_name: str, sagemaker_session: Session | None = None
    ) -> None:
        """Take the job of that name."""
        self.name = hyperparameter_tuning_job_name
        self._session = sagemaker_session or Session()

    def training_job_summaries(self, force_refresh: bool = False) -> list[Description]:
        """SageMaker's summary of every training job."""
        return self._description().summaries()

    def description(self, force_refresh: bool = False) -> Description:
        """The tuning job's `describe`."""
        return self._description().describe(self.name)

    @property
    def tuning_ranges(self) -> dict[str, Any]:
        """Ranges by parameter."""
        ranges = self._description().ranges
        return {name: parameter.as_tuning_range(name) for name, parameter in ranges.items()}

    def dataframe(self, force_refresh: bool = False) -> "pandas.DataFrame":
        """Make a row for each trial: values, name, status, final objective, times, seconds."""
        import pandas

        found = self._description()
        frame = pandas.DataFrame([_row(found, trial) for trial in found.run.result["trials"]])
        for name in DATES:
            if name in frame:
                frame[name] = pandas.to_datetime(frame[name])
        return frame

    def export_csv(self, filename: str | Path) -> None:
        """Write the table to a CSV file."""
        self.dataframe().to_csv(filename)

    def clear_cache(self) -> None:
        """Do nothing: there is no cache."""

    def _description(self) -> TuningDescription:
        return description.find(self._session.runs, self.name)


class TrainingJobAnalytics:
    """Metrics that a training job reported, by time."""

    def __init__(
        self,
        training_job_name: str,
        metric_names: Sequence[str] | None = None,
        sagemaker_session: Session | None = None,
        **aws: Any,
    ) -> None:
        """Take the trial of that name, and these metrics or all.

        The table has every value; AWS keeps one a minute.
        """
        ignore(aws)
        self.name = training_job_name
        self._metrics = metric_names
        self._session = sagemaker_session or Session()

    def dataframe(self, force_refresh: bool = False) -> "pandas.DataFrame":
        """Make a row for each value: seconds since the start of training, metric, value."""
        run, trial = trial_of(self._session, self.name)
        epochs = run.epochs_to_pandas()
        values = epochs[epochs["trial_id"] == trial.trial_id].drop(columns=["trial_id", "epoch"])
        table = values.rename(columns={"seconds": "timestamp"}).melt("timestamp").dropna()
        table["metric_name"] = table.pop("variable").str.removeprefix("metrics.")
        table = table[["timestamp", "metric_name", "value"]].sort_values("timestamp", kind="stable")
        if self._metrics is not None:
            table = table[table["metric_name"].isin(self._metrics)]
        return table.reset_index(drop=True)

    def export_csv(self, filename: str | Path) -> None:
        """Write the table to a CSV file."""
        self.dataframe().to_csv(filename)


def _row(found: TuningDescription, trial: dict[str, Any]) -> dict[str, Any]:
    summary = found.summary(trial)
    began, ended = summary.get("TrainingStartTime"), summary.get("TrainingEndTime")
    elapsed = (ended - began).total_seconds() if began and ended else trial["seconds"]
    return {
        **trial["config"],
        "TrainingJobName": summary["TrainingJobName"],
        "TrainingJobStatus": summary["TrainingJobStatus"],
        "FinalObjectiveValue": trial["metrics"].get(found.experiment.metric),
        "TrainingStartTime": began,
        "TrainingEndTime": ended,
        "TrainingElapsedTimeSeconds": elapsed,
    }
