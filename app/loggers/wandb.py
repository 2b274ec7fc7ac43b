"""Weights & Biases: a run for each trial, in a group by the name of ours.

Offline unless `WANDB_MODE` says otherwise: `wandb sync runs/NAME/wandb/offline-run-*` sends them.
A trial that goes on by `--resume` has its run's ID again, which the name of the run's folder says.
"""

import os
import secrets
from typing import Any

import wandb

from app.experiment.schema import Experiment
from app.loggers.following import scalars
from app.run.events import Event
from app.run.journal import Journal
from app.run.layout import WANDB
from app.run.status import TrialStatus

MODE = "WANDB_MODE"
SETTINGS = {
    "silent": True,
    "console": "off",
    # The list of installed packages takes nine tenths of a run's cost, and each trial has a run.
    "x_save_requirements": False,
    # Of this machine and process, which are not those that train.
    "x_disable_stats": True,
}


class WandbLogger:
    """Writes files below the run's folder, or to a server."""

    def __init__(self, journal: Journal, experiment: Experiment) -> None:
        """Write below the folder of the journal's run."""
        self._journal = journal
        self._project = experiment.name
        self._runs: dict[str, Any] = {}
        self._token = secrets.token_hex(4)
        earlier = sorted((journal.folder / WANDB).glob("*run-*-*-*"))
        self._ids = {
            trial_id: f"{token}-{trial_id}"
            for _, token, trial_id in (path.name.rsplit("-", 2) for path in earlier)
        }
        """IDs of trials' runs that an earlier attempt began."""

    def on_event(self, event: Event) -> None:
        """Write an epoch, or end a trial's run."""
        if event["event"] == "epoch":
            self._run(event["trial_id"]).log(scalars(event["metrics"]), step=event["epoch"])
        elif event["event"] == "end" and event["trial_id"] in self._runs:
            failed = event["status"] == TrialStatus.FAILED
            self._runs.pop(event["trial_id"]).finish(exit_code=int(failed))

    def close(self) -> None:
        """End the runs of trials that have not ended."""
        for run in self._runs.values():
            run.finish(exit_code=1)

    def _run(self, trial_id: str) -> Any:
        if trial_id not in self._runs:
            self._runs[trial_id] = wandb.init(
                project=self._project,
                id=self._ids.get(trial_id, f"{self._token}-{trial_id}"),
                resume="allow",
                group=self._journal.folder.name,
                name=f"{self._journal.folder.name}-{trial_id}",
                config=dict(self._journal.record.trials[trial_id].config),
                dir=str(self._journal.folder),
                mode=os.environ.get(MODE, "offline"),
                # Trials train at the same time.
                reinit="create_new",
                settings=wandb.Settings(**SETTINGS),
            )
        return self._runs[trial_id]
