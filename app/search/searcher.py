"""The searcher of a run: suggests each trial's configuration to Ray, from what the journal says.

Ray tells its searchers less than the journal knows, such as which attempts were discarded and which
failures were a lost node's. So what Ray tells is ignored, and a resumed run suggests what it would
have suggested.

A configuration has an index, from 0, and so has a trial. With `repeats`, the trials of one
configuration follow each other: a configuration's index is its trials' index over `repeats`.
"""

import itertools
import statistics
from typing import Any

from ray.tune.search import Searcher

from app.experiment.result_keys import CONTROL
from app.experiment.schema import Experiment
from app.run.record import Record
from app.run.status import RunStatus
from app.run.trial import Trial
from app.search.history import Config
from app.search.proposals import Proposals
from app.search.samplers import SAMPLERS
from app.search.stoppers import Ending
from app.search.warm_start import WarmStart


class JournalSearcher(Searcher):
    """Suggests configurations by index; an interrupted trial gets its own again."""

    def __init__(
        self, experiment: Experiment, record: Record, warm_start: WarmStart | None = None
    ) -> None:
        """Go on after the trials of the record, and learn from it as it grows."""
        super().__init__(metric=experiment.metric, mode=experiment.mode)
        self._experiment = experiment
        self._record = record
        self._proposals = _start_proposals(experiment, warm_start or WarmStart())
        self._started_trials: set[int] = set()
        """Trials that Ray was given in this attempt, or that had finished before it."""
        self._configs: dict[int, Config] = {}
        """All configurations that are known, by index."""
        self._started_configs: set[int] = set()
        """Configurations of which a trial is in `_started_trials`."""
        self._running_configs: set[int] = set()
        """Those of them whose trials have not all finished."""
        for trial in record.in_order():
            index = trial.number() - 1
            self._proposals.exclude(trial.config)
            self._configs[index // experiment.repeats] = trial.config
            if trial.is_finished:
                self._start(index)
        self._learn()

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles it beside its state; the journal is what a run resumes from.
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the journal is what a run resumes from."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: the journal is what a run resumes from."""

    @property
    def ending(self) -> Ending | None:
        """The ending of a run whose configurations were all tried; None while some are left."""
        count = self._proposals.count_if_exhausted()
        if count is None or not self._is_every_repeat_started():
            return None
        combinations = (
            "the only combination was" if count == 1 else f"all {count} combinations were"
        )
        return Ending(RunStatus.COMPLETED, f"{combinations} tried")

    @property
    def is_over(self) -> bool:
        """Whether no trial is left to start or to resume."""
        is_interrupted = any(not trial.is_finished for trial in self._record.trials.values())
        return not is_interrupted and self.ending is not None

    def suggest(self, trial_id: str) -> Any:
        """Return the whole configuration of the next trial, or `Searcher.FINISHED`."""
        self._learn()
        index = next(index for index in itertools.count() if index not in self._started_trials)
        config = self._start(index)
        if config is None:
            return Searcher.FINISHED
        own_id = trial_id_of(index)
        return {
            **self._experiment.constants(index + 1),
            **config,
            CONTROL: _control(own_id, self._record.trials.get(own_id)),
        }

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Ignore what Ray tells: the journal knows more."""

    def _start(self, trial_index: int) -> Config | None:
        """Start a trial and return its configuration; None if no configuration is left."""
        index = trial_index // self._experiment.repeats
        config = self._configs.get(index)
        if config is None:
            config = self._proposals.suggest(index)
        elif index not in self._started_configs:
            self._proposals.start(index, config)
        if config is None:
            return None
        if index not in self._started_configs:
            self._started_configs.add(index)
            self._running_configs.add(index)
        self._configs[index] = config
        self._started_trials.add(trial_index)
        return config

    def _learn(self) -> None:
        """Tell the proposals of configurations whose trials have all finished since."""
        for index in sorted(self._running_configs):
            trials = self._finished_trials(index)
            if trials is None:
                continue
            self._running_configs.discard(index)
            epochs = [trial.best_epoch for trial in trials if trial.is_sound and trial.best_epoch]
            if epochs:
                # The sampler's model takes a configuration to have one value.
                metric = self._experiment.metric
                value = statistics.mean(epoch.metrics[metric] for epoch in epochs)
                self._proposals.tell(index, value)
            elif any(trial.is_bad for trial in trials):
                self._proposals.tell(index, None)
            else:
                self._proposals.discard(index)

    def _finished_trials(self, index: int) -> list[Trial] | None:
        """Return the trials of a configuration; None until all of them have finished."""
        ids = map(trial_id_of, self._trial_indices(index))
        trials = [self._record.trials.get(trial_id) for trial_id in ids]
        finished = [trial for trial in trials if trial is not None and trial.is_finished]
        return finished if len(finished) == len(trials) else None

    def _trial_indices(self, index: int) -> range:
        """Return the indices of a configuration's trials."""
        repeats = self._experiment.repeats
        return range(index * repeats, (index + 1) * repeats)

    def _is_every_repeat_started(self) -> bool:
        return all(
            trial_index in self._started_trials
            for index in self._configs
            for trial_index in self._trial_indices(index)
        )


def _start_proposals(experiment: Experiment, warm_start: WarmStart) -> Proposals:
    """Begin an experiment's search with what earlier runs evaluated."""
    space, search = experiment.parameters, experiment.search
    proposals = Proposals(space, search, seed=experiment.seed, objective=experiment.objective)
    for evaluation in warm_start.evaluations:
        proposals.add(evaluation.config, evaluation.value)
    for config in warm_start.failures:
        proposals.add(config, None)
    # Evaluations of earlier runs make the sampler's own first points unnecessary.
    if warm_start.evaluations:
        proposals.enqueue(warm_start.points)
    elif warm_start.points or warm_start.failures:
        proposals.enqueue([*warm_start.points, *SAMPLERS[search].points(space)])
    return proposals


def trial_id_of(index: int) -> str:
    """Return the id of the trial of an index, from 0: 001 is the first."""
    return f"{index + 1:03d}"


def _control(trial_id: str, earlier: Trial | None) -> dict[str, Any]:
    """Return what the trial's process needs beside the values: its id, checkpoints and attempt."""
    checkpoints = [] if earlier is None else earlier.saved
    attempt = 1 if earlier is None else earlier.attempts + 1
    return {"trial_id": trial_id, "checkpoints": checkpoints, "attempt": attempt}
