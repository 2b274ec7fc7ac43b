"""A run's outcome with SageMaker's keys and columns, its values with their own types."""

from typing import TYPE_CHECKING, Any

from app import store
from app.store import Run

if TYPE_CHECKING:
    import pandas

RUN_STATUS = {
    "running": "InProgress",
    "completed": "Completed",
    "stopped": "Stopped",
    "interrupted": "Stopped",
    "failed": "Failed",
}
TRIAL_STATUS = {**RUN_STATUS, "pending": "InProgress"}
OBJECTIVE = {"min": "Minimize", "max": "Maximize"}


def describe(run: Run) -> dict[str, Any]:
    """What SageMaker's `describe` says of a tuning job."""
    result, asked = run.result, store.experiment(run)
    statuses = [trial_status(trial) for trial in result["trials"]]
    counters = {
        "Completed": statuses.count("Completed"),
        "InProgress": statuses.count("InProgress"),
        "RetryableError": 0,
        "NonRetryableError": statuses.count("Failed"),
        "Stopped": statuses.count("Stopped"),
    }
    values = [trial["metrics"].get(result["metric"]) for trial in result["trials"]]
    succeeded = sum(value is not None for value in values)
    described = {
        "HyperParameterTuningJobName": run.name,
        "HyperParameterTuningJobStatus": RUN_STATUS[result["status"]],
        "HyperParameterTuningJobConfig": {
            "Strategy": asked.search.capitalize(),
            "HyperParameterTuningJobObjective": {
                "Type": OBJECTIVE[result["mode"]],
                "MetricName": result["metric"],
            },
            "ResourceLimits": {
                "MaxNumberOfTrainingJobs": asked.num_samples,
                "MaxParallelTrainingJobs": asked.max_concurrent,
            },
        },
        "TrainingJobStatusCounters": counters,
        "ObjectiveStatusCounters": {
            "Succeeded": succeeded,
            "Pending": counters["InProgress"],
            "Failed": counters["NonRetryableError"],
        },
        "ConsumedResources": {"RuntimeInSeconds": round(result["seconds"])},
    }
    best = best_trial(run)
    if best is not None:
        described["BestTrainingJob"] = summary(run, best)
    if result["status"] == "failed":
        described["FailureReason"] = result["reason"]
    return described


def summary(run: Run, trial: dict[str, Any]) -> dict[str, Any]:
    """What SageMaker says of one training job."""
    metric = run.result["metric"]
    value = trial["metrics"].get(metric)
    told = {
        "TrainingJobName": job_name(run, trial["trial_id"]),
        "TrainingJobStatus": trial_status(trial),
        "TunedHyperParameters": trial["config"],
        "ObjectiveStatus": "Succeeded" if value is not None else "Failed",
    }
    if value is not None:
        told["FinalHyperParameterTuningJobObjectiveMetric"] = {"MetricName": metric, "Value": value}
    if trial["error"]:
        told["FailureReason"] = trial["error"]
    return told


def best_trial(run: Run) -> dict[str, Any] | None:
    """The best trial's table; None where no trial has a value."""
    best = run.result["best"]
    trials = run.result["trials"]
    return next((t for t in trials if best and t["trial_id"] == best["trial_id"]), None)


def trial_status(trial: dict[str, Any]) -> str:
    """A trial's status in SageMaker's words."""
    return TRIAL_STATUS[trial["status"]]


def job_name(run: Run, trial_id: str) -> str:
    """What SageMaker would call a trial's training job."""
    return f"{run.name}-{trial_id}"


class HyperparameterTuningJobAnalytics:
    """A run's trials as a table."""

    def __init__(self, run: Run) -> None:
        """Read from that run."""
        self.run = run

    def training_job_summaries(self) -> list[dict[str, Any]]:
        """What is said of each trial."""
        return [summary(self.run, trial) for trial in self.run.result["trials"]]

    def dataframe(self) -> "pandas.DataFrame":
        """A row for each trial: its values, its name, status, final objective and seconds."""
        import pandas

        metric = self.run.result["metric"]
        rows = [
            {
                **trial["config"],
                "TrainingJobName": job_name(self.run, trial["trial_id"]),
                "TrainingJobStatus": trial_status(trial),
                "FinalObjectiveValue": trial["metrics"].get(metric),
                "TrainingElapsedTimeSeconds": trial["seconds"],
            }
            for trial in self.run.result["trials"]
        ]
        return pandas.DataFrame(rows)
