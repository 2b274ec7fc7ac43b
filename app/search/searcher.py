"""The searcher of a run: gives Ray each trial's configuration, by what the journal says.

Ray tells its searchers less than the journal knows: which attempts were thrown away, which
failures were a lost node's. So what Ray tells is passed over, and a run that is resumed proposes
what it would have proposed.
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

COLD = WarmStart()


class TrialSearch(Searcher):
    """Gives trials their numbers and configurations, in order, interrupted ones theirs again.

    Trials that repeat a configuration follow each other, so the number of a configuration is
    that of its trials by how many they are.
    """

    def __init__(
        self,
        experiment: Experiment,
        record: Record,
        warm: WarmStart = COLD,
    ) -> None:
        """Search where the record's trials left off, and learn from it how they go."""
        super().__init__(metric=experiment.metric, mode=experiment.mode)
        self.experiment = experiment
        self.record = record
        self.proposals = _proposals(experiment, warm)
        self.given: set[int] = set()
        """The numbers of the trials that Ray was given, and of those that had ended."""
        self.configs: dict[int, Config] = {}
        """All that is known of, by the configuration's number."""
        self.begun: set[int] = set()
        """The configurations, by number, that a trial was given or had ended with."""
        self.running: set[int] = set()
        """Those of them whose trials have not all ended."""
        for trial in record.in_order():
            self.proposals.exclude(trial.config)
            self.configs[number_of(trial) // experiment.repeats] = trial.config
            if trial.is_finished:
                self._begin(number_of(trial))
        self._catch_up()

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles it beside its state; the journal is what a run resumes from.
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Keep nothing: the journal is what a run resumes from."""

    def restore(self, checkpoint_path: str) -> None:
        """Take nothing: the journal is what a run resumes from."""

    @property
    def ending(self) -> Ending | None:
        """Why the search can go no further, where every configuration was tried."""
        count = self.proposals.count_if_exhausted()
        if count is None or not self._all_repeated():
            return None
        what = "the only combination was" if count == 1 else f"all {count} combinations were"
        return Ending(RunStatus.COMPLETED, f"{what} tried")

    @property
    def is_over(self) -> bool:
        """Whether no trial is left to start, an interrupted one neither."""
        interrupted = any(not trial.is_finished for trial in self.record.trials.values())
        return not interrupted and self.ending is not None

    def suggest(self, trial_id: str) -> Any:
        """Give a whole configuration, or say that there is none left."""
        self._catch_up()
        number = next(each for each in itertools.count() if each not in self.given)
        config = self._begin(number)
        if config is None:
            return Searcher.FINISHED
        earlier = self.record.trials.get(trial_identity(number))
        return {
            **self.experiment.given(number + 1),
            **config,
            CONTROL: control(trial_identity(number), earlier),
        }

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Pass it over: the journal knows more."""

    def _begin(self, trial: int) -> Config | None:
        """Let the trial with this number begin; gives its configuration, None where none is left.

        Repeats have that of the first of them.
        """
        number = trial // self.experiment.repeats
        config = self.configs.get(number)
        if config is None:
            config = self.proposals.suggest(number)
        elif number not in self.begun:
            self.proposals.start(number, config)
        if config is None:
            return None
        if number not in self.begun:
            self.begun.add(number)
            self.running.add(number)
        self.configs[number] = config
        self.given.add(trial)
        return config

    def _catch_up(self) -> None:
        """Take in which configurations' trials ended since, and how, in the order of numbers."""
        for number in sorted(self.running):
            trials = self._ended(number)
            if trials is None:
                continue
            self.running.discard(number)
            sound = [each.best_epoch for each in trials if each.is_sound and each.best_epoch]
            if sound:
                # The model takes a configuration to have one value.
                value = statistics.mean(epoch.metrics[self.experiment.metric] for epoch in sound)
                self.proposals.tell(number, value)
            elif any(trial.is_bad for trial in trials):
                self.proposals.tell(number, None)
            else:
                self.proposals.discard(number)

    def _ended(self, number: int) -> list[Trial] | None:
        """The trials of a configuration; None until all of them have ended."""
        trials = []
        for each in self._trials(number):
            trial = self.record.trials.get(trial_identity(each))
            if trial is None or not trial.is_finished:
                return None
            trials.append(trial)
        return trials

    def _trials(self, number: int) -> range:
        """The numbers of a configuration's trials."""
        repeats = self.experiment.repeats
        return range(number * repeats, (number + 1) * repeats)

    def _all_repeated(self) -> bool:
        """Whether no configuration lacks a trial."""
        return all(each in self.given for number in self.configs for each in self._trials(number))


def _proposals(experiment: Experiment, warm: WarmStart) -> Proposals:
    """What the search proposes from, with what earlier runs found."""
    proposals = Proposals(
        experiment.parameters,
        experiment.search,
        seed=experiment.seed,
        objective=experiment.objective,
    )
    for evaluated in warm.evaluated:
        proposals.add(evaluated.config, evaluated.value)
    for config in warm.failed:
        proposals.add(config, None)
    # What was evaluated elsewhere takes the place of points that spread over the space.
    if warm.evaluated:
        proposals.enqueue(warm.points)
    elif warm.points or warm.failed:
        proposals.enqueue(
            [*warm.points, *SAMPLERS[experiment.search].points(experiment.parameters)]
        )
    return proposals


def trial_identity(number: int) -> str:
    """A trial's id from its number: 001 is the first."""
    return f"{number + 1:03d}"


def number_of(trial: Trial) -> int:
    """A trial's number from its id."""
    return int(trial.trial_id) - 1


def control(trial_id: str, earlier: Trial | None) -> dict[str, Any]:
    """What a configuration carries beside its values: who it is and where it goes on from."""
    saved = [] if earlier is None else earlier.saved
    legs = 1 if earlier is None else earlier.attempts + 1
    return {"trial_id": trial_id, "checkpoints": saved, "leg": legs}
