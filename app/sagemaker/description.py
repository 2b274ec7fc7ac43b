"""What SageMaker's `describe` says, of runs: its keys, and values with their own types."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from app.experiment.schema import Experiment
from app.run import journal, store, timeline
from app.run.journal import JOURNAL
from app.run.store import Run
from app.run.timeline import Timeline
from app.sagemaker.parameter import Range, from_entry, tuning_ranges
from app.sagemaker.strategy import WarmStartTypes
from app.storage import remote_folder
from trainables.script.environment import arn

RUN_STATUS = {
    "running": "InProgress",
    "completed": "Completed",
    "stopped": "Stopped",
    "interrupted": "Stopped",
    "failed": "Failed",
}
TRIAL_STATUS = {**RUN_STATUS, "pending": "InProgress"}
OBJECTIVE = {"min": "Minimize", "max": "Maximize"}
STRATEGIES = {"bayesian": "Bayesian", "random": "Random", "grid": "Grid", "hyperband": "Hyperband"}
FINAL = "FinalHyperParameterTuningJobObjectiveMetric"
ROLE = arn("iam", "role/local", region="")
"""What an estimator takes as its role; nobody here asks for one."""
Described = dict[str, Any]


class Definition:
    """One run of a tuning job, which has several where it searches several estimators."""

    def __init__(self, run: Run, name: str) -> None:
        """The run, under that estimator's name; it has none where it is alone."""
        remote_folder.refresh(run.folder, JOURNAL)
        self.run = run
        self.name = name
        self.asked = store.experiment(run)

    @cached_property
    def times(self) -> Timeline:
        """When it and its trials began and ended."""
        return timeline.read(self.run.folder)

    @cached_property
    def warm_start(self) -> Described | None:
        """The earlier searches that it began with; identical to it are those whose values counted.

        None where it began with none, or an older version wrote its journal.
        """
        events = journal.read(self.run.folder / JOURNAL)
        warm = next((event for event in events if event["event"] == "warm"), {})
        if not warm.get("parents"):
            return None
        kind = WarmStartTypes.IDENTICAL_DATA_AND_ALGORITHM
        return {
            "ParentHyperParameterTuningJobs": [
                {"HyperParameterTuningJobName": name} for name in warm["parents"]
            ],
            "WarmStartType": (
                kind if warm["evaluated"] else WarmStartTypes.TRANSFER_LEARNING
            ).value,
        }

    @property
    def ranges(self) -> dict[str, Range]:
        """What is searched."""
        return {name: from_entry(entry) for name, entry in self.asked.space.items()}

    @property
    def best(self) -> Described | None:
        """The best trial's summary; None where no trial has a value."""
        best = self.run.result["best"]
        trials = self.run.result["trials"]
        found = (self.summary(each) for each in trials if each["trial_id"] == best["trial_id"])
        return None if best is None else next(found, None)

    def summaries(self) -> list[Described]:
        """What SageMaker says of each training job."""
        return [self.summary(trial) for trial in self.run.result["trials"]]

    def summary(self, trial: Mapping[str, Any]) -> Described:
        """What SageMaker says of one training job."""
        times = self.times.trials.get(trial["trial_id"], timeline.Span())
        value = trial["metrics"].get(self.asked.metric)
        objective = {"Type": OBJECTIVE[self.asked.mode], "MetricName": self.asked.metric}
        final = None if value is None else {**objective, "Value": value}
        told = {
            "TrainingJobName": (name := f"{self.run.name}-{trial['trial_id']}"),
            "TrainingJobArn": arn("sagemaker", f"training-job/{name}"),
            "TrainingJobDefinitionName": self.name or None,
            "CreationTime": times.began,
            "TrainingStartTime": times.began,
            "TrainingEndTime": times.ended,
            "TrainingJobStatus": TRIAL_STATUS[trial["status"]],
            "TunedHyperParameters": trial["config"],
            "FailureReason": trial["error"],
            FINAL: final,
            "ObjectiveStatus": _objective_status(trial, value),
        }
        return {key: each for key, each in told.items() if each is not None}

    @property
    def environment(self) -> dict[str, str]:
        """The variables of its scripts that it keeps."""
        kept = self.asked.script.kept_environment if self.asked.script else {}
        return {name: value for name, value in kept.items() if value is not None}

    def training(self) -> Described:
        """What every training job has in common."""
        asked, several = self.asked, bool(self.name)
        table = asked.script
        told = {
            "DefinitionName": self.name or None,
            "TuningObjective": _objective(self) if several else None,
            "HyperParameterRanges": tuning_ranges(self.ranges) if several else None,
            "RoleArn": ROLE,
            "StaticHyperParameters": dict(asked.fixed),
            "AlgorithmSpecification": {
                "TrainingInputMode": "File",
                "MetricDefinitions": [
                    {"Name": each.name, "Regex": each.regex}
                    for each in (table.metrics if table else ())
                ],
            },
            "InputDataConfig": [
                {
                    "ChannelName": name,
                    "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": _uri(path)}},
                }
                for name, path in (table.inputs if table else {}).items()
            ],
            "ResourceConfig": {"InstanceCount": asked.workers_per_trial},
            "OutputDataConfig": {"S3OutputPath": _uri(remote_folder.shown(self.run.folder))},
            "Environment": self.environment or None,
        }
        return {key: each for key, each in told.items() if each is not None}


def definitions(runs: Path, name: str) -> list[Definition]:
    """The runs of a tuning job; raises StoreError where there is none of that name."""
    if not store.exists(runs / name):
        of_several = list(_of_several(runs, name))
        if of_several:
            return of_several
    return [Definition(store.find(runs, name), "")]


def _of_several(runs: Path, name: str) -> Iterator[Definition]:
    """The runs of a job of that name that searches several estimators, each in a run of its own."""
    for each in store.names(runs):
        if each.startswith(f"{name}-"):
            run = store.read(runs / each)
            experiment = store.experiment(run).name
            if each == f"{name}-{experiment}":
                yield Definition(run, experiment)


def best(found: list[Definition]) -> tuple[Definition, Described] | None:
    """The best trial of all, and whose it is; None where none has a value."""
    objective = found[0].asked.objective
    having = [(each, each.best) for each in found]
    ranked = [(each, summary) for each, summary in having if summary is not None]
    return min(ranked, key=lambda pair: objective.as_loss(pair[1][FINAL]["Value"]), default=None)


def describe(found: list[Definition], name: str) -> Described:
    """What SageMaker's `describe` says of a tuning job."""
    statuses = [RUN_STATUS[each.run.result["status"]] for each in found]
    summaries = [summary for each in found for summary in each.summaries()]
    spans = [each.times.run for each in found]
    winner = best(found)
    reasons = [each.run.result["reason"] for each in found if each.run.result["reason"]]
    status = _together(statuses)
    over = status != "InProgress"
    told = {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobArn": arn("sagemaker", f"hyper-parameter-tuning-job/{name}"),
        "HyperParameterTuningJobConfig": _config(found),
        **_trainings(found),
        "HyperParameterTuningJobStatus": status,
        "CreationTime": min((s.began for s in spans if s.began), default=None),
        "HyperParameterTuningEndTime": max(
            (s.ended for s in spans if s.ended and over), default=None
        ),
        "LastModifiedTime": max((d.times.latest for d in found if d.times.latest), default=None),
        "TrainingJobStatusCounters": _counters(summaries),
        "ObjectiveStatusCounters": {
            each: [summary["ObjectiveStatus"] for summary in summaries].count(each)
            for each in ("Succeeded", "Pending", "Failed")
        },
        "BestTrainingJob": None if winner is None else winner[1],
        "OverallBestTrainingJob": _overall_best(found, name),
        "WarmStartConfig": found[0].warm_start,
        "TuningJobCompletionDetails": {
            "NumberOfTrainingJobsObjectiveNotImproving": _not_improving(summaries, found[0]),
        },
        "FailureReason": "; ".join(reasons) if status == "Failed" else None,
        "ConsumedResources": {
            "RuntimeInSeconds": round(sum(each.run.result["seconds"] for each in found))
        },
    }
    return {key: each for key, each in told.items() if each is not None}


def _trainings(found: list[Definition]) -> Described:
    if found[0].name:
        return {"TrainingJobDefinitions": [each.training() for each in found]}
    return {"TrainingJobDefinition": found[0].training()}


def _overall_best(found: list[Definition], name: str) -> Described | None:
    """The best of the job and of the identical ones that it began with, where those are there."""
    warm = found[0].warm_start or {}
    if warm.get("WarmStartType") != WarmStartTypes.IDENTICAL_DATA_AND_ALGORITHM.value:
        return None
    jobs = {name: found}
    for parent in warm["ParentHyperParameterTuningJobs"]:
        with suppress(store.StoreError):
            earlier = parent["HyperParameterTuningJobName"]
            jobs[earlier] = definitions(found[0].run.folder.parent, earlier)
    overall = best([each for job in jobs.values() for each in job])
    if overall is None:
        return None
    whose = next(each for each, job in jobs.items() if overall[0] in job)
    return {**overall[1], "TuningJobName": whose}


def _not_improving(summaries: list[Described], first: Definition) -> int:
    """How many trials have ended with a value since the best one did."""
    ended = [each for each in summaries if each["ObjectiveStatus"] == "Succeeded"]
    ended.sort(key=lambda each: each.get("TrainingEndTime") or datetime.min.replace(tzinfo=UTC))
    values = [first.asked.objective.as_loss(each[FINAL]["Value"]) for each in ended]
    return len(values) - 1 - values.index(min(values)) if values else 0


def _config(found: list[Definition]) -> Described:
    first = found[0].asked
    completion = {
        "TargetObjectiveMetricValue": first.target,
        "BestObjectiveNotImproving": first.patience
        and {"MaxNumberOfTrainingJobsNotImproving": first.patience},
        "ConvergenceDetected": first.convergence and {"CompleteOnConvergence": "Enabled"},
    }
    completion = {key: each for key, each in completion.items() if each is not None}
    limits = {
        "MaxNumberOfTrainingJobs": sum(each.asked.num_samples for each in found),
        "MaxParallelTrainingJobs": sum(each.asked.max_concurrent for each in found),
        "MaxRuntimeInSeconds": first.time_budget,
    }
    alone = not found[0].name
    told = {
        "Strategy": STRATEGIES.get(first.search, first.search),
        "HyperParameterTuningJobObjective": _objective(found[0]) if alone else None,
        "ResourceLimits": {key: each for key, each in limits.items() if each is not None},
        "ParameterRanges": tuning_ranges(found[0].ranges) if alone else None,
        "TrainingJobEarlyStoppingType": "Off" if first.early_stopping == "off" else "Auto",
        "TuningJobCompletionCriteria": completion or None,
        "RandomSeed": first.seed,
        "StrategyConfig": _strategy(first),
    }
    return {key: each for key, each in told.items() if each is not None}


def _strategy(asked: Experiment) -> Described | None:
    """The epochs of a trial that hyperband does not stop; it judges every one of them."""
    if asked.search != "hyperband":
        return None
    return {"HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": asked.epochs}}


def _objective(definition: Definition) -> Described:
    asked = definition.asked
    return {"Type": OBJECTIVE[asked.mode], "MetricName": asked.metric}


def _counters(summaries: list[Described]) -> dict[str, int]:
    statuses = [summary["TrainingJobStatus"] for summary in summaries]
    return {
        "Completed": statuses.count("Completed"),
        "InProgress": statuses.count("InProgress"),
        "RetryableError": 0,
        "NonRetryableError": statuses.count("Failed"),
        "Stopped": statuses.count("Stopped"),
    }


def _objective_status(trial: Mapping[str, Any], value: Any) -> str:
    if TRIAL_STATUS[trial["status"]] == "InProgress":
        return "Pending"
    return "Succeeded" if value is not None and trial["status"] != "failed" else "Failed"


def _together(statuses: list[str]) -> str:
    """A job is in progress while a run is, and failed where every one did."""
    for status in ("InProgress", "Stopped", "Completed"):
        if status in statuses:
            return status
    return "Failed"


def _uri(path: str) -> str:
    return path if "://" in path else Path(path).as_uri()
