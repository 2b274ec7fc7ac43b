"""MLflow: a run with a nested run for each trial, and the exported model.

`MLFLOW_TRACKING_URI` says where; without it, runs are kept in the folder `mlruns`, as MLflow does.
The experiment has the name of ours, and a run that goes on by `--resume` the run that `mlflow.json`
names. `mlflow.pyfunc.load_model("runs:/ID/model")` loads the model.
"""

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

from app.experiment.schema import Experiment
from app.loggers.following import scalars
from app.run.events import Event
from app.run.journal import Journal
from app.run.layout import MLFLOW, MODEL
from app.run.status import RunStatus, TrialStatus

URI = "MLFLOW_TRACKING_URI"
STATUSES = {
    TrialStatus.COMPLETED: "FINISHED",
    TrialStatus.STOPPED: "FINISHED",
    TrialStatus.FAILED: "FAILED",
}
"""MLflow's statuses of trials that ended."""
ONNX = "model.onnx"


class MLflowLogger:
    """Writes to an MLflow tracking server, or a folder."""

    def __init__(self, journal: Journal, experiment: Experiment) -> None:
        """Begin a run by the name of ours; raises MlflowException where there is no server."""
        self._journal = journal
        self._uri = os.environ.get(URI) or Path("mlruns").absolute().as_uri()
        # MLflow refuses its folder unless it is asked for, in favour of a database.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        self._client = MlflowClient(self._uri)
        self._experiment_id = self._find_experiment(experiment.name)
        self._runs: dict[str, str] = {}
        """MLflow's runs of trials that this attempt has logged."""
        self._earlier: dict[str, str] = {}
        """Those that an earlier attempt began."""
        self._parent = self._earlier_parent() or self._begin_parent(experiment)

    def on_event(self, event: Event) -> None:
        """Begin a nested run, write an epoch to it, or end it."""
        if event["event"] == "epoch":
            now = int(event["time"] * 1000)
            values = scalars(event["metrics"])
            metrics = [Metric(name, value, now, event["epoch"]) for name, value in values.items()]
            self._client.log_batch(self._run(event["trial_id"]), metrics=metrics)
        elif event["event"] == "end":
            status = STATUSES[event["status"]]
            self._client.set_terminated(self._run(event["trial_id"]), status)

    def close(self) -> None:
        """Log the best trial and the model, and end all runs."""
        record = self._journal.record
        for trial_id, run_id in self._runs.items():
            if not record.trials[trial_id].is_finished:
                self._client.set_terminated(run_id, "KILLED")
        best = record.best
        if best is not None and best.best_epoch is not None:
            # Tags, as a parameter cannot change when the run goes on.
            for name, value in {"best_trial": best.trial_id, **best.config}.items():
                self._client.set_tag(self._parent, name, str(value))
            now = int(time.time() * 1000)
            values = scalars(best.best_epoch.metrics)
            metrics = [Metric(name, v, now, best.best_epoch.number) for name, v in values.items()]
            self._client.log_batch(self._parent, metrics=metrics)
        model = self._journal.folder / MODEL / ONNX
        if model.is_file():
            self._log_model(model)
        is_complete = record.status in (RunStatus.COMPLETED, RunStatus.STOPPED)
        self._client.set_terminated(self._parent, "FINISHED" if is_complete else "KILLED")

    def _run(self, trial_id: str) -> str:
        if trial_id in self._runs:
            return self._runs[trial_id]
        if trial_id in self._earlier:
            self._runs[trial_id] = self._earlier[trial_id]
            self._client.update_run(self._runs[trial_id], status="RUNNING")
        else:
            self._runs[trial_id] = self._begin(trial_id, {MLFLOW_PARENT_RUN_ID: self._parent})
            self._params(self._runs[trial_id], self._journal.record.trials[trial_id].config)
        return self._runs[trial_id]

    def _begin_parent(self, experiment: Experiment) -> str:
        run_id = self._begin(self._journal.folder.name)
        self._params(run_id, {"metric": experiment.metric, "mode": experiment.mode})
        (self._journal.folder / MLFLOW).write_text(json.dumps({"run_id": run_id}) + "\n")
        return run_id

    def _earlier_parent(self) -> str | None:
        """Return the run of an earlier attempt, and find its trials; None where it is gone."""
        with suppress(OSError, ValueError, LookupError, TypeError, MlflowException):
            run_id = str(json.loads((self._journal.folder / MLFLOW).read_bytes())["run_id"])
            self._client.update_run(run_id, status="RUNNING")
            self._earlier = self._nested(run_id)
            return run_id
        return None

    def _nested(self, parent: str) -> dict[str, str]:
        """Return the runs of a run's trials, by the trials."""
        asked = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent}'"
        found: dict[str, str] = {}
        token: str | None = ""
        while token is not None:
            page = self._client.search_runs([self._experiment_id], asked, page_token=token or None)
            found |= {run.data.tags[MLFLOW_RUN_NAME]: str(run.info.run_id) for run in page}
            token = page.token or None
        return found

    def _begin(self, name: str, tags: dict[str, str] | None = None) -> str:
        run = self._client.create_run(
            self._experiment_id, tags={MLFLOW_RUN_NAME: name, **(tags or {})}
        )
        return str(run.info.run_id)

    def _params(self, run_id: str, values: dict[str, Any]) -> None:
        params = [Param(name, str(value)) for name, value in values.items()]
        self._client.log_batch(run_id, params=params, tags=[RunTag("source", "tuneport")])

    def _find_experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        return str(found.experiment_id if found else self._client.create_experiment(name))

    def _log_model(self, path: Path) -> None:
        import onnx

        before = mlflow.get_tracking_uri()
        mlflow.set_tracking_uri(self._uri)
        try:
            with mlflow.start_run(run_id=self._parent):
                mlflow.onnx.log_model(
                    onnx.load(path), name=MODEL, onnx_execution_providers=["CPUExecutionProvider"]
                )
        finally:
            mlflow.set_tracking_uri(before)
