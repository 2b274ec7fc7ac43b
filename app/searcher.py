"""The Optuna searcher of a run: Ray's, with what is wrong or missing in it put right."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FixedTrial, TrialState, create_trial
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from app.experiment import Experiment
from app.journal import Trial
from app.search import CONTROL, FAILURE, VALUES, Algorithm, is_finite
from app.stopping import EPOCH
from app.warmstart import WarmStart

COLD = WarmStart()


class TrialSearch(OptunaSearch):
    """Suggests configurations, and tells the study each trial's best value or its failure.

    Ray's own searcher leaves a trial with a NaN running for ever and tells the last value of a
    trial that was stopped. Numbers are given in order, those of interrupted trials to these.
    """

    def __init__(
        self,
        experiment: Experiment,
        algorithm: Algorithm,
        earlier: Sequence[Trial],
        warm: WarmStart = COLD,
        storage: BaseStorage | None = None,
    ) -> None:
        """Search where earlier trials left off; the study is kept in `storage`, or in memory."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.experiment = experiment
        self.algorithm = algorithm
        self.parameters = experiment.parameters
        # What was evaluated elsewhere takes the place of points that spread over the space.
        spread = [] if warm.evaluated else algorithm.points(self.parameters)
        self.points = [*warm.points, *spread]
        self.interrupted = {number_of(t): t for t in earlier if not t.is_finished}
        self.given = {number_of(trial) for trial in earlier if trial.is_finished}
        self.curves: dict[str, dict[int, float]] = {}
        """The finite objectives by Tune's id of the trial and epoch, without discarded epochs."""
        super().__init__(
            space=self.parameters.suggest,
            metric=experiment.metric,
            mode=experiment.mode,
            study_name=experiment.name,
            storage=storage,
        )
        for evaluated in warm.evaluated:
            self._add(evaluated.config, evaluated.value)
        for trial in earlier:
            if trial.is_finished:
                self._remember(trial)

    @property
    def _study(self) -> optuna.Study:
        study: optuna.Study = self._ot_study  # type: ignore[assignment]  # made by Ray's __init__
        return study

    def suggest(self, trial_id: str) -> Any:
        """A whole configuration, or that there is none left."""
        number = next(each for each in itertools.count() if each not in self.given)
        if self.algorithm.exhaustive and number >= len(self.points):
            return Searcher.FINISHED
        finished = len(self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
        self._study.sampler = self.algorithm.sampler(self._seed_of(number), finished)
        self.given.add(number)
        earlier = self.interrupted.get(number)
        if earlier is not None:
            self._study.enqueue_trial(self.parameters.encode(earlier.config))
        elif number < len(self.points):
            self._study.enqueue_trial(self.parameters.encode(self.points[number]))
        trial = self._study.ask()
        trial.set_user_attr("trial_id", trial_identity(number))
        trial.set_user_attr("tune_trial_id", trial_id)
        self._ot_trials[trial_id] = trial
        config = self.parameters.suggest(trial)
        for epoch in () if earlier is None else earlier.history:
            # What it reported before it was interrupted counts as if it had never been.
            value = epoch.get(self.experiment.metric)
            self.on_trial_result(trial_id, {EPOCH: epoch["epoch"], self.experiment.metric: value})
        return {
            "seed": self.experiment.seed,
            **self.experiment.fixed,
            **config,
            CONTROL: control(trial_identity(number), earlier),
        }

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Keep the best value so far, and let the study have the epoch's."""
        if trial_id not in self._ot_trials:
            return  # Tune gave a trial that it started anew another id
        self._learn(trial_id, result)
        if trial_id in self._completed_trials:
            return
        value: Any = result.get(self.experiment.metric)
        if is_finite(value):
            # Unlike `Trial.report`, this replaces the value of an epoch that is trained again.
            number = self._ot_trials[trial_id]._trial_id
            self._study._storage.set_trial_intermediate_value(number, result[EPOCH], value)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the study the best value, or that the trial failed; a success may follow that."""
        trial = self._ot_trials.get(trial_id)
        if trial is None:
            return
        if result:
            self._learn(trial_id, result)
        failed = error or bool(result and result.get(FAILURE))
        value = None if failed else self._counting(trial_id)
        state = TrialState.FAIL if value is None else TrialState.COMPLETE
        if trial_id not in self._completed_trials:
            self._study.tell(trial, value, state=state)
            self._completed_trials.add(trial_id)
        elif value is not None and self._failed(trial):
            told = self._study.trials[trial.number]
            chosen = {"params": told.params, "distributions": told.distributions}
            self._study.add_trial(create_trial(value=value, user_attrs=told.user_attrs, **chosen))

    def _failed(self, trial: Any) -> bool:
        """Whether the study knows no success of this trial."""
        identity = trial.user_attrs["trial_id"]
        return not any(
            each.state == TrialState.COMPLETE and each.user_attrs.get("trial_id") == identity
            for each in self._study.get_trials(deepcopy=False)
        )

    def _learn(self, trial_id: str, result: dict[str, Any]) -> None:
        """Take in an epoch, and forget what an earlier attempt reported from that epoch on."""
        value: Any = result.get(self.experiment.metric)
        if is_finite(value):
            known = self.curves.get(trial_id, {})
            before = {epoch: old for epoch, old in known.items() if epoch < result[EPOCH]}
            self.curves[trial_id] = {**before, result[EPOCH]: value}

    def _counting(self, trial_id: str) -> float | None:
        """The value that counts of those the trial reported; None where there is none."""
        sign = 1 if self.mode == "min" else -1
        takes_over = VALUES[self.experiment.value]
        counts: float | None = None
        for value in self.curves.get(trial_id, {}).values():
            if counts is None or takes_over(sign * counts, sign * value):
                counts = value
        return counts

    def _seed_of(self, number: int) -> int:
        sequence = np.random.SeedSequence([self.experiment.seed, number])
        return int(sequence.generate_state(1)[0])

    def _remember(self, trial: Trial) -> None:
        """Tell the study of a finished trial."""
        best, metric = trial.best_epoch, self.experiment.metric
        value = None if trial.status == "failed" or best is None else best[metric]
        curve = {each["epoch"]: each[metric] for each in trial.history if is_finite(each[metric])}
        self._add(
            trial.config,
            value,
            intermediate_values=curve,
            user_attrs={"trial_id": trial.trial_id},
        )

    def _add(self, config: Mapping[str, Any], value: float | None, **told: Any) -> None:
        """Tell the study of a configuration that is done; None says that it failed."""
        fixed: Any = FixedTrial(self.parameters.encode(config))
        self.parameters.suggest(fixed)
        self._study.add_trial(
            create_trial(
                state=TrialState.FAIL if value is None else TrialState.COMPLETE,
                value=value,
                params=fixed.params,
                distributions=fixed.distributions,
                **told,
            )
        )


def study_storage(path: Path) -> JournalStorage:
    """A study in a file that `optuna-dashboard` opens, begun anew from what the journal says."""
    path.unlink(missing_ok=True)
    return JournalStorage(_StudyFile(path))


class _StudyFile(BaseJournalBackend):
    """Optuna's journal file, written by this process alone.

    It is never read back, locked or waited for: that took longer than all the rest of a trial's
    bookkeeping, and what a run is resumed from is its own journal.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._logs: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """What was appended from that entry on."""
        return iter(self._logs[log_number_from:])

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write the entries, a line each."""
        lines = [json.dumps(log, separators=(",", ":")) + "\n" for log in logs]
        with self._path.open("a", encoding="utf-8") as file:
            file.write("".join(lines))
        # As whoever opens the file reads them.
        self._logs += map(json.loads, lines)


def trial_identity(number: int) -> str:
    """A trial's id from its number: 001 is the first."""
    return f"{number + 1:03d}"


def number_of(trial: Trial) -> int:
    """A trial's number from its id."""
    return int(trial.trial_id) - 1


def control(trial_id: str, earlier: Trial | None) -> dict[str, Any]:
    """What a configuration carries beside its values: who it is and where it goes on from."""
    saved = [] if earlier is None else earlier.saved
    legs = 1 if earlier is None else earlier.legs + 1
    return {"trial_id": trial_id, "checkpoints": saved, "leg": legs}
