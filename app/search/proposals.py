"""Configurations that a search evaluates next: its sampler's, never twice, away from failures.

This is a whole search without Ray: benchmarks and tests call it as a run does. Repeats and failures
are handled here and not by the samplers, so every sampler handles them.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import optuna
from optuna.trial import FixedTrial, TrialState, create_trial

from app.experiment.objective import Objective
from app.experiment.search_algorithms import ALGORITHMS
from app.experiment.space import Space, identity
from app.search.history import Config, History, TriedConfig
from app.search.observations import ImputingStorage
from app.search.replacements import Replacements
from app.search.samplers import SAMPLERS


class Proposals:
    """Suggests the configuration of each index, from 0, and learns from the values told."""

    def __init__(self, space: Space, search: str, *, seed: int, objective: Objective) -> None:
        """Search `space` for the best value of `objective` by the algorithm named `search`."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space = space
        self._algorithm, self._sampler = ALGORITHMS[search], SAMPLERS[search]
        self._seed = seed
        self._storage = ImputingStorage(objective)
        self._study = optuna.create_study(storage=self._storage, direction=objective.direction)
        self._history = History(space)
        self._replacements = Replacements(space, self._history, learns=self._algorithm.learns)
        self._points: list[Config] = []
        self.enqueue(self._sampler.points(space))

    def enqueue(self, points: Iterable[Config]) -> None:
        """Suggest these first, except those tried, in place of the sampler's own first points."""
        distinct = {identity(point): point for point in points}
        self._points = [point for point in distinct.values() if not self._history.is_tried(point)]

    def exclude(self, config: Config) -> None:
        """Never suggest this configuration."""
        self._history.tried.add(identity(config))

    def add(self, config: Config, value: float | None) -> None:
        """Add a configuration that was evaluated elsewhere; `value` is None if it failed."""
        self._tell(self._add_running(config), value)

    def suggest(self, index: int) -> Config | None:
        """Suggest and start the configuration of an index; None if all were tried."""
        if self._replacements.is_exhausted:
            return None
        is_point = index < len(self._points)
        if not is_point and self._algorithm.exhaustive:
            return None
        suggestion = self._points[index] if is_point else self._sample(index)
        avoid_risks = not is_point and self._algorithm.learns and self._history.is_risk_spent
        if (
            suggestion is None
            or self._repeats(suggestion, is_point=is_point)
            or (avoid_risks and self._history.is_risk(suggestion))
        ):
            rng = np.random.default_rng([self._seed, index])
            suggestion = self._replacements.choose(suggestion, rng, avoid_risks=avoid_risks)
        if suggestion is not None:
            self.start(index, suggestion)
        return suggestion

    def start(self, index: int, config: Config) -> None:
        """Take this configuration of an index as in training."""
        self._history.running[index] = self._add_running(config)

    def tell(self, index: int, value: float | None) -> None:
        """Take in the value of an index; None if its configuration failed."""
        self._tell(self._history.running.pop(index), value)

    def discard(self, index: int) -> None:
        """Take in that an index ended and nothing is known of its configuration."""
        number = self._history.running.pop(index).study_number
        self._study.tell(number, state=TrialState.FAIL)

    def count_if_exhausted(self) -> int | None:
        """Return the number of configurations of the space if all were tried; None if not."""
        return self._replacements.count_if_exhausted()

    def _add_running(self, config: Config) -> TriedConfig:
        """Add a running trial to the study."""
        self.exclude(config)
        trial: Any = FixedTrial(self._space.encode(config))
        self._space.suggest(trial)
        self._study.add_trial(
            create_trial(
                state=TrialState.RUNNING, params=trial.params, distributions=trial.distributions
            )
        )
        number = self._storage.get_n_trials(self._study._study_id) - 1
        return TriedConfig(config, self._space.position(config), number)

    def _tell(self, tried: TriedConfig, value: float | None) -> None:
        if value is None:
            self._history.failures.append(tried)
            self._storage.impute(tried.study_number)
            self._study.tell(tried.study_number, state=TrialState.FAIL)
        else:
            self._history.successes.append(tried)
            self._study.tell(tried.study_number, value)

    def _sample(self, index: int) -> Config | None:
        """Ask the sampler; None if it learns and knows nothing but failures."""
        if self._algorithm.learns and self._history.failures and not self._history.successes:
            return None
        seed = int(np.random.SeedSequence([self._seed, index]).generate_state(1)[0])
        self._study.sampler = self._sampler.build(seed, self._history.finished)
        trial = self._study.ask()
        config = self._space.suggest(trial)
        # Its configuration joins the study once it is accepted.
        self._study.tell(trial, state=TrialState.FAIL)
        return config

    def _repeats(self, config: Config, *, is_point: bool) -> bool:
        """Whether a configuration was tried; a model's also if it is next to one that was."""
        if self._history.is_tried(config):
            return True
        return not is_point and self._algorithm.learns and self._history.is_near_tried(config)
