"""SageMaker's `describe` for runs: the same keys, with values that keep their types.

Covered: tuning jobs, their training jobs, warm starts and counters. Not covered: fields that only
AWS can fill, such as billed seconds.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from app.experiment.run_folder import JOURNAL
from app.experiment.schema import Experiment
from app.run import journal_reader, store, timeline
from app.run.status import RunStatus, TrialStatus
from app.run.store import Run
from app.run.timeline import Timeline
from app.sagemaker.parameter import Range, from_entry, tuning_ranges
from app.sagemaker.strategy import WarmStartTypes
from app.storage.run_storage import run_storage
from app.storage.working_copy import location
from trainables.script.aws import arn

RUN_STATUS: Mapping[str, str] = {
    RunStatus.RUNNING: "InProgress",
    RunStatus.COMPLETED: "Completed",
    RunStatus.STOPPED: "Stopped",
    RunStatus.INTERRUPTED: "Stopped",
    RunStatus.FAILED: "Failed",
}
TRIAL_STATUS: Mapping[str, str] = {**RUN_STATUS, TrialStatus.PENDING: "InProgress"}
OBJECTIVE = {"min": "Minimize", "max": "Maximize"}
STRATEGIES = {"bayesian": "Bayesian", "random": "Random", "grid": "Grid", "hyperband": "Hyperband"}
FINAL = "FinalHyperParameterTuningJobObjectiveMetric"
OBJECTIVE_STATUSES = ("Succeeded", "Pending", "Failed")
ROLE = arn("iam", "role/local", region="")
"""Role that an estimator takes; nothing here checks it."""
Description = dict[str, Any]


class TuningDescription:
    """A run as a SageMaker tuning job."""

    def __init__(self, run: Run) -> None:
        """Describe the run; of a run behind a URI, fetch its journal first."""
        run_storage(run.folder).refresh(JOURNAL)
        self.run = run
        self.experiment = store.read_experiment(run)

    @cached_property
    def times(self) -> Timeline:
        """Start and end times of the run and its trials."""
        return timeline.read(self.run.folder)

    @cached_property
    def warm_start(self) -> Description | None:
        """Earlier runs that this one started from; identical are those whose values counted.

        None for a run without a warm start, or whose journal an older version wrote.
        """
        events = journal_reader.read_events(self.run.folder / JOURNAL)
        warm = next((event for event in events if event["event"] == "warm"), {})
        if not warm.get("parents"):
            return None
        identical = WarmStartTypes.IDENTICAL_DATA_AND_ALGORITHM
        kind = identical if warm["evaluated"] else WarmStartTypes.TRANSFER_LEARNING
        parents = [{"HyperParameterTuningJobName": name} for name in warm["parents"]]
        return {"ParentHyperParameterTuningJobs": parents, "WarmStartType": kind.value}

    @property
    def ranges(self) -> dict[str, Range]:
        """Search space by parameter."""
        return {name: from_entry(entry) for name, entry in self.experiment.space.items()}

    @property
    def best(self) -> Description | None:
        """Summary of the best trial; None if no trial has a value."""
        best = self.run.result["best"]
        if best is None:
            return None
        trials = self.run.result["trials"]
        return next((self.summary(t) for t in trials if t["trial_id"] == best["trial_id"]), None)

    def summaries(self) -> list[Description]:
        """Summary of every training job, in order."""
        return [self.summary(trial) for trial in self.run.result["trials"]]

    def summary(self, trial: Mapping[str, Any]) -> Description:
        """SageMaker's summary of one training job."""
        times = self.times.trials.get(trial["trial_id"], timeline.Span())
        value = trial["metrics"].get(self.experiment.metric)
        name = f"{self.run.name}-{trial['trial_id']}"
        summary = {
            "TrainingJobName": name,
            "TrainingJobArn": arn("sagemaker", f"training-job/{name}"),
            "CreationTime": times.began,
            "TrainingStartTime": times.began,
            "TrainingEndTime": times.ended,
            "TrainingJobStatus": TRIAL_STATUS[trial["status"]],
            "TunedHyperParameters": trial["config"],
            "FailureReason": trial["error"],
            FINAL: None if value is None else {**self._objective, "Value": value},
            "ObjectiveStatus": _objective_status(trial, value),
        }
        return _without_none(summary)

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables of its scripts that the run keeps."""
        kept = self.experiment.script.recorded_environment if self.experiment.script else {}
        return {name: value for name, value in kept.items() if value is not None}

    def describe(self, name: str) -> Description:
        """SageMaker's `describe` of the tuning job, under the name that the caller uses."""
        result = self.run.result
        status = RUN_STATUS[result["status"]]
        summaries = self.summaries()
        ended = self.times.run.ended if status != "InProgress" else None
        description = {
            "HyperParameterTuningJobName": name,
            "HyperParameterTuningJobArn": arn("sagemaker", f"hyper-parameter-tuning-job/{name}"),
            "HyperParameterTuningJobConfig": self._config(),
            "TrainingJobDefinition": self._training_definition(),
            "HyperParameterTuningJobStatus": status,
            "CreationTime": self.times.run.began,
            "HyperParameterTuningEndTime": ended,
            "LastModifiedTime": self.times.latest,
            "TrainingJobStatusCounters": _counters(summaries),
            "ObjectiveStatusCounters": _objective_counters(summaries),
            "BestTrainingJob": self.best,
            "OverallBestTrainingJob": self._overall_best(name),
            "WarmStartConfig": self.warm_start,
            "TuningJobCompletionDetails": {
                "NumberOfTrainingJobsObjectiveNotImproving": self._not_improving(summaries),
            },
            "FailureReason": (result["reason"] or None) if status == "Failed" else None,
            "ConsumedResources": {"RuntimeInSeconds": round(result["seconds"])},
        }
        return _without_none(description)

    @property
    def _objective(self) -> Description:
        return {"Type": OBJECTIVE[self.experiment.mode], "MetricName": self.experiment.metric}

    def _config(self) -> Description:
        experiment = self.experiment
        completion = {
            "TargetObjectiveMetricValue": experiment.target,
            "BestObjectiveNotImproving": experiment.patience
            and {"MaxNumberOfTrainingJobsNotImproving": experiment.patience},
            "ConvergenceDetected": experiment.convergence and {"CompleteOnConvergence": "Enabled"},
        }
        limits = {
            "MaxNumberOfTrainingJobs": experiment.num_samples,
            "MaxParallelTrainingJobs": experiment.max_concurrent,
            "MaxRuntimeInSeconds": experiment.time_budget,
        }
        config = {
            "Strategy": STRATEGIES.get(experiment.search, experiment.search),
            "HyperParameterTuningJobObjective": self._objective,
            "ResourceLimits": _without_none(limits),
            "ParameterRanges": tuning_ranges(self.ranges),
            "TrainingJobEarlyStoppingType": "Off"
            if experiment.early_stopping.name == "off"
            else "Auto",
            "TuningJobCompletionCriteria": _without_none(completion) or None,
            "RandomSeed": experiment.seed,
            "StrategyConfig": _strategy(experiment),
        }
        return _without_none(config)

    def _training_definition(self) -> Description:
        """Settings that all training jobs have in common."""
        script = self.experiment.script
        metrics = script.metrics if script else ()
        definition = {
            "RoleArn": ROLE,
            "StaticHyperParameters": dict(self.experiment.fixed),
            "AlgorithmSpecification": {
                "TrainingInputMode": "File",
                "MetricDefinitions": [{"Name": m.name, "Regex": m.regex} for m in metrics],
            },
            "InputDataConfig": [
                _channel(name, path) for name, path in self.experiment.inputs.items()
            ],
            "ResourceConfig": {"InstanceCount": self.experiment.resources.workers_per_trial},
            "OutputDataConfig": {"S3OutputPath": _uri(location(self.run.folder))},
            "Environment": self.environment or None,
        }
        return _without_none(definition)

    def _overall_best(self, name: str) -> Description | None:
        """Best training job of this run and of the identical ones it started from, if found."""
        warm = self.warm_start or {}
        if warm.get("WarmStartType") != WarmStartTypes.IDENTICAL_DATA_AND_ALGORITHM.value:
            return None
        candidates = [] if self.best is None else [{**self.best, "TuningJobName": name}]
        for parent in warm["ParentHyperParameterTuningJobs"]:
            parent_name = parent["HyperParameterTuningJobName"]
            with suppress(store.StoreError):
                best = find(self.run.folder.parent, parent_name).best
                if best is not None:
                    candidates.append({**best, "TuningJobName": parent_name})
        as_loss = self.experiment.objective.as_loss
        return min(candidates, key=lambda job: as_loss(job[FINAL]["Value"]), default=None)

    def _not_improving(self, summaries: Iterable[Description]) -> int:
        """Count the trials that ended with a value after the best one did."""
        ended = [job for job in summaries if job["ObjectiveStatus"] == "Succeeded"]
        ended.sort(key=lambda job: job.get("TrainingEndTime") or datetime.min.replace(tzinfo=UTC))
        values = [self.experiment.objective.as_loss(job[FINAL]["Value"]) for job in ended]
        return len(values) - 1 - values.index(min(values)) if values else 0


def find(runs: Path, name: str) -> TuningDescription:
    """Describe the run of that name; raises StoreError if there is none."""
    return TuningDescription(store.find(runs, name))


def _without_none(table: Mapping[str, Any]) -> Description:
    return {key: value for key, value in table.items() if value is not None}


def _strategy(experiment: Experiment) -> Description | None:
    """Hyperband's epochs; its first rung is the first epoch."""
    if experiment.search != "hyperband":
        return None
    return {"HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": experiment.epochs}}


def _counters(summaries: Iterable[Description]) -> dict[str, int]:
    statuses = [summary["TrainingJobStatus"] for summary in summaries]
    return {
        "Completed": statuses.count("Completed"),
        "InProgress": statuses.count("InProgress"),
        "RetryableError": 0,
        "NonRetryableError": statuses.count("Failed"),
        "Stopped": statuses.count("Stopped"),
    }


def _objective_counters(summaries: Iterable[Description]) -> dict[str, int]:
    statuses = [summary["ObjectiveStatus"] for summary in summaries]
    return {status: statuses.count(status) for status in OBJECTIVE_STATUSES}


def _objective_status(trial: Mapping[str, Any], value: Any) -> str:
    if TRIAL_STATUS[trial["status"]] == "InProgress":
        return "Pending"
    return "Succeeded" if value is not None and trial["status"] != TrialStatus.FAILED else "Failed"


def _channel(name: str, path: str) -> Description:
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": _uri(path)}}
    return {"ChannelName": name, "DataSource": source}


def _uri(path: str) -> str:
    return path if "://" in path else Path(path).as_uri()
