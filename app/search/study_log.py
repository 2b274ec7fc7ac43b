"""The study file of a run: its journal, as `optuna-dashboard` reads it.

True values and true choices, every epoch, and how each trial ended. Nothing reads it back: what a
run is resumed from is its journal, and what samplers see is in `app.search.observations`.
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
from app.run.events import Event
from app.run.journal import JournalError
from app.run.record import Record
from app.run.status import TrialStatus
from app.run.trial import Trial
from app.search.resumed_scheduler import curve

STATES = {
    TrialStatus.COMPLETED: TrialState.COMPLETE,
    TrialStatus.STOPPED: TrialState.PRUNED,
    TrialStatus.FAILED: TrialState.FAIL,
}
"""Optuna's states of finished trials, by the journal's."""
WARM_START = "warm_start"
"""The attribute of a trial that an earlier run had."""


class StudyFile:
    """Writes what the journal says of trials, from the beginning, and then as it says it."""

    def __init__(self, path: Path, experiment: Experiment, record: Record) -> None:
        """Begin the file anew with what the record holds; raises JournalError."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise JournalError(f"cannot write {path}: {error.strerror}") from error
        self._space = experiment.parameters
        self._metric = experiment.metric
        self._record = record
        self._storage = JournalStorage(_Lines(path))
        self._study = optuna.create_study(
            storage=self._storage,
            study_name=experiment.name,
            direction=experiment.objective.direction,
        )
        self._ids: dict[str, int] = {}
        """Optuna's ids, by the trials'."""
        self._add_earlier(record.warm or {})
        for trial in record.in_order():
            if trial.is_finished:
                self._end(trial)

    def heard(self, event: Event) -> None:
        """Write what an event of the journal says, once the record has taken it in."""
        if "trial_id" not in event:
            return
        trial = self._record.trials[event["trial_id"]]
        in_study = self._id_of(trial)
        if event["event"] == "epoch":
            value = event["metrics"].get(self._metric)
            if is_finite(value):
                self._storage.set_trial_intermediate_value(in_study, event["epoch"], value)
        elif event["event"] == "end":
            self._end(trial)

    def _id_of(self, trial: Trial) -> int:
        """Optuna's id of a trial, which begins with what it has reported so far."""
        if trial.trial_id not in self._ids:
            self._ids[trial.trial_id] = self._add(
                trial.config,
                state=TrialState.RUNNING,
                intermediate_values=dict(curve(trial.history, self._metric)),
                user_attrs={"trial_id": trial.trial_id},
            )
        return self._ids[trial.trial_id]

    def _end(self, trial: Trial) -> None:
        best = trial.best_epoch if trial.is_sound else None
        state = STATES[trial.status]
        if best is None and state == TrialState.COMPLETE:
            state = TrialState.FAIL
        values = None if best is None else [best.metrics[self._metric]]
        self._storage.set_trial_state_values(self._id_of(trial), state, values)

    def _add_earlier(self, warm: Mapping[str, Any]) -> None:
        """Write what earlier runs of a warm start had evaluated."""
        for each in warm.get("evaluated", ()):
            self._add(each["config"], value=each["value"], user_attrs={WARM_START: True})
        for config in warm.get("failed", ()):
            self._add(config, state=TrialState.FAIL, user_attrs={WARM_START: True})

    def _add(self, config: Mapping[str, Any], **told: Any) -> int:
        distributions = {
            name: parameter.distribution()
            for name, parameter in self._space.parameters.items()
            if name in config
        }
        params = {name: config[name] for name in distributions}
        trial = create_trial(params=params, distributions=distributions, **told)
        return self._storage.create_new_trial(self._study._study_id, template_trial=trial)


class _Lines(BaseJournalBackend):
    """Optuna's journal file, written by this process alone.

    It is never read back, locked or waited for: that took longer than all the rest of a trial's
    bookkeeping.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._logs: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """What was appended from that entry on."""
        return iter(self._logs[log_number_from:])

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write the entries, a line each; raises JournalError."""
        lines = [json.dumps(log, separators=(",", ":")) + "\n" for log in logs]
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write("".join(lines))
        except OSError as error:
            raise JournalError(f"cannot write {self._path}: {error.strerror}") from error
        # As whoever opens the file reads them.
        self._logs += map(json.loads, lines)
