"""The Optuna study of a run: its journal in the format that `optuna-dashboard` reads.

Covered: the values and choices that trials were given, every epoch, and how each trial ended. The
study is never read back: a run resumes from its journal, and samplers learn from the storage of
`app.search.observations`.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import TrialState, create_trial

from app.experiment.result_keys import is_finite
from app.experiment.schema import Experiment
from app.run.errors import JournalError
from app.run.events import Event
from app.run.record import Record
from app.run.status import TrialStatus
from app.run.trial import Trial
from app.search.resumed_scheduler import curve

STATES = {
    TrialStatus.COMPLETED: TrialState.COMPLETE,
    TrialStatus.STOPPED: TrialState.PRUNED,
    TrialStatus.FAILED: TrialState.FAIL,
}
"""Optuna's states of finished trials."""
WARM_START = "warm_start"
"""The user attribute of a trial that an earlier run evaluated."""


class StudyLog:
    """Writes a run's trials to a file, first those of its record and then each event."""

    def __init__(self, path: Path, experiment: Experiment, record: Record) -> None:
        """Replace the file by one with the trials of the record.

        Raises:
            JournalError: The file cannot be written.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise JournalError(f"cannot write {path}: {error.strerror}") from error
        self._space = experiment.parameters
        self._metric = experiment.metric
        self._record = record
        self._storage = JournalStorage(_AppendOnlyBackend(path))
        self._study = optuna.create_study(
            storage=self._storage,
            study_name=experiment.name,
            direction=experiment.objective.direction,
        )
        self._study_ids: dict[str, int] = {}
        """Optuna's ids of the trials, by ours."""
        self._add_warm_start(record.warm or {})
        for trial in record.in_order():
            if trial.is_finished:
                self._end(trial)

    def on_event(self, event: Event) -> None:
        """Write an event of the journal; called once the record contains it."""
        if "trial_id" not in event:
            return
        trial = self._record.trials[event["trial_id"]]
        study_id = self._study_id(trial)
        if event["event"] == "epoch":
            value = event["metrics"].get(self._metric)
            if is_finite(value):
                self._storage.set_trial_intermediate_value(study_id, event["epoch"], value)
        elif event["event"] == "end":
            self._end(trial)

    def _study_id(self, trial: Trial) -> int:
        """Return Optuna's id of a trial, which is added with its epochs so far if it is new."""
        if trial.trial_id not in self._study_ids:
            self._study_ids[trial.trial_id] = self._add(
                trial.config,
                state=TrialState.RUNNING,
                intermediate_values=dict(curve(trial.history, self._metric)),
                user_attrs={"trial_id": trial.trial_id},
            )
        return self._study_ids[trial.trial_id]

    def _end(self, trial: Trial) -> None:
        best = trial.best_epoch if trial.is_sound else None
        state = STATES[trial.status]
        if best is None and state == TrialState.COMPLETE:
            state = TrialState.FAIL
        values = None if best is None else [best.metrics[self._metric]]
        self._storage.set_trial_state_values(self._study_id(trial), state, values)

    def _add_warm_start(self, warm: Mapping[str, Any]) -> None:
        """Add the trials of earlier runs that the run's search knows."""
        attributes = {WARM_START: True}
        for entry in warm.get("evaluated", ()):
            self._add(entry["config"], value=entry["value"], user_attrs=attributes)
        for config in warm.get("failed", ()):
            self._add(config, state=TrialState.FAIL, user_attrs=attributes)

    def _add(self, config: Mapping[str, Any], **fields: Any) -> int:
        distributions = {
            name: parameter.distribution()
            for name, parameter in self._space.parameters.items()
            if name in config
        }
        params = {name: config[name] for name in distributions}
        trial = create_trial(params=params, distributions=distributions, **fields)
        return self._storage.create_new_trial(self._study._study_id, template_trial=trial)


class _AppendOnlyBackend(BaseJournalBackend):
    """Optuna's journal file, which this process alone writes.

    Optuna's own backend locks and reads the file at every write, which took longer than all other
    bookkeeping of a trial.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._logs: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Return the entries from that number on."""
        return iter(self._logs[log_number_from:])

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append the entries, a line each; raise JournalError if the file cannot be written."""
        lines = [json.dumps(log, separators=(",", ":")) + "\n" for log in logs]
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write("".join(lines))
        except OSError as error:
            raise JournalError(f"cannot write {self._path}: {error.strerror}") from error
        # The entries as any other reader of the file gets them: tuples are lists, for instance.
        self._logs += map(json.loads, lines)
