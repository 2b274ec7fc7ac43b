"""What a search proposes next: by its algorithm, never twice, and away from what fails.

This is the whole of a search but Ray: benchmarks and tests call it as a run does. Repeats and
failures are its own matter and not the samplers', so every algorithm has what is here.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import FixedTrial, TrialState, create_trial

from app.experiment.distributions import SpaceError
from app.experiment.objective import Objective
from app.experiment.space import Identity, Space, identity
from app.search.algorithms import Algorithm
from app.search.observations import Lessons

Config = dict[str, Any]
Array = NDArray[np.float64]

MARGIN = 3.0
"""A proposal is a risk where it is not as many times nearer to a success than to a failure.

Where all that is known of a border is that it is between the two, it is crossed once in four.
"""
RISKED = 0.25
"""The part of all trials that may have failed, or be risks, before no more risks are taken."""
SAME = 0.001
"""How near to what was tried a model's proposal is as good as tried, in lengths of a range."""
APART = (0.05, 0.02, 0.01, 0.005, 0.0)
"""How far from all that was tried another is put in its place: the first that can be had."""
CANDIDATES = 512
"""Configurations among which another is chosen; a space with no more is looked through."""
JITTER = 0.1
"""How far candidates lie about the way from a proposal to a success, in lengths of a range."""


class Proposals:
    """Gives each trial its configuration, by its number, and is told how the trials went."""

    def __init__(
        self, space: Space, algorithm: Algorithm, *, seed: int, objective: Objective
    ) -> None:
        """Search `space` for the best value of an objective."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space = space
        self._algorithm = algorithm
        self._seed = seed
        self._lessons = Lessons(objective)
        self._study = optuna.create_study(storage=self._lessons, direction=objective.direction)
        self._tried: set[Identity] = set()
        self._sound: list[_Place] = []
        self._failed: list[_Place] = []
        self._running: dict[int, _Place] = {}
        self._few = _few(space)
        self._points: list[Config] = []
        self.begin_with(algorithm.points(space))

    def begin_with(self, points: Iterable[Config]) -> None:
        """Propose these first, but those that were tried, in place of the algorithm's own."""
        distinct = {identity(point): point for point in points}
        self._points = [point for each, point in distinct.items() if each not in self._tried]

    def avoid(self, config: Config) -> None:
        """Never propose this configuration."""
        self._tried.add(identity(config))

    def learn(self, config: Config, value: float | None) -> None:
        """Take in a configuration that was tried before; None says that it failed by itself."""
        self._tell(self._placed(config), value)

    def propose(self, number: int) -> Config | None:
        """Give the configuration of a trial that starts now; None where all were tried."""
        if self._few is not None and self._few.keys() <= self._tried:
            return None
        is_point = number < len(self._points)
        if not is_point and self._algorithm.traits.exhaustive:
            return None
        wanted = self._points[number] if is_point else self._drawn(number)
        careful = not is_point and self._is_careful()
        if wanted is None or self._is_tried(wanted, is_asked_for=is_point):
            wanted = self._instead_of(wanted, number, careful=careful)
        elif careful and self._is_risk(wanted):
            wanted = self._instead_of(wanted, number, careful=True)
        if wanted is not None:
            self.start(number, wanted)
        return wanted

    def start(self, number: int, config: Config) -> None:
        """Take in that a trial is in training with this configuration."""
        self._running[number] = self._placed(config)

    def end(self, number: int, value: float | None) -> None:
        """Take in a trial's value; None says that it failed by itself."""
        self._tell(self._running.pop(number), value)

    def drop(self, number: int) -> None:
        """Take in that a trial ended without a verdict on its configuration."""
        self._study.tell(self._running.pop(number).in_study, state=TrialState.FAIL)

    def all_tried(self) -> int | None:
        """How many configurations the space has, where all of them were tried."""
        if self._few is not None:
            return len(self._few) if self._few.keys() <= self._tried else None
        return None if self._left_over() is not None else self._count()

    def _count(self) -> int | None:
        try:
            return sum(1 for _ in self._space.combinations())
        except SpaceError:
            return None

    def _placed(self, config: Config) -> "_Place":
        """Put a trial in training into the study."""
        self.avoid(config)
        fixed: Any = FixedTrial(self._space.encode(config))
        self._space.suggest(fixed)
        self._study.add_trial(
            create_trial(
                state=TrialState.RUNNING, params=fixed.params, distributions=fixed.distributions
            )
        )
        in_study = self._lessons.get_n_trials(self._study._study_id) - 1
        return _Place(config, self._space.position(config), in_study)

    def _tell(self, place: "_Place", value: float | None) -> None:
        if value is None:
            self._failed.append(place)
            self._lessons.failed(place.in_study)
            self._study.tell(place.in_study, state=TrialState.FAIL)
        else:
            self._sound.append(place)
            self._study.tell(place.in_study, value)

    def _drawn(self, number: int) -> Config | None:
        """What the algorithm proposes; None while all that is known are failures."""
        if self._algorithm.traits.learns and self._failed and not self._sound:
            return None
        seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        told = len(self._sound) + len(self._failed)
        self._study.sampler = self._algorithm.sampler(seed, told)
        asked = self._study.ask()
        config = self._space.suggest(asked)
        # It takes its place among the trials once it is accepted.
        self._study.tell(asked, state=TrialState.FAIL)
        return config

    def _is_careful(self) -> bool:
        """Whether so much failed, or may yet, that no risk is taken."""
        if not self._algorithm.traits.learns or not self._failed:
            return False
        running = [place.position for place in self._running.values()]
        risks = int((self._danger(np.array(running)) > 0).sum()) if running else 0
        return len(self._failed) + risks >= RISKED * len(self._tried)

    def _danger(self, positions: Array) -> Array:
        """Above 0 for what is not clearly nearer to a success; (N,) of (N, coordinates)."""
        return MARGIN * _nearest(positions, self._sound) - _nearest(positions, self._failed)

    def _is_risk(self, config: Config) -> bool:
        return bool(self._danger(np.array([self._space.position(config)]))[0] > 0)

    def _is_tried(self, config: Config, *, is_asked_for: bool) -> bool:
        """Whether a configuration was tried, or one that a model should take for the same."""
        if identity(config) in self._tried:
            return True
        if is_asked_for or not self._algorithm.traits.learns:
            return False
        nearest = _nearest(np.array([self._space.position(config)]), self._places())
        return bool(nearest[0] < SAME)

    def _places(self) -> list["_Place"]:
        """All that was tried and is told of, and what is in training."""
        return [*self._sound, *self._failed, *self._running.values()]

    def _instead_of(self, wanted: Config | None, number: int, *, careful: bool) -> Config | None:
        """The configuration nearest to the one that was wanted that can be had, if any."""
        rng = np.random.default_rng([self._seed, number])
        unseen = [
            each for each in self._candidates(wanted, rng) if identity(each) not in self._tried
        ]
        if not unseen:
            return self._left_over()
        if not self._algorithm.traits.learns:
            return unseen[int(rng.integers(len(unseen)))]
        positions = np.array([self._space.position(each) for each in unseen])
        free = _nearest(positions, self._places())
        if wanted is None:
            return unseen[int(free.argmax())]
        danger = self._danger(positions) if careful else np.zeros(len(unseen))
        if danger.min() > 0:
            return unseen[int(danger.argmin())]
        off = np.linalg.norm(positions - self._space.position(wanted), axis=1)
        off[(danger > 0) | (free < _greatest(APART, free[danger <= 0].max()))] = np.inf
        return unseen[int(off.argmin())]

    def _candidates(self, wanted: Config | None, rng: np.random.Generator) -> list[Config]:
        """Configurations of all the space, and about the way from the one wanted to a success."""
        if self._few is not None:
            return list(self._few.values())
        shape = (CANDIDATES, len(self._space.parameters))
        fractions = rng.random(shape)
        if wanted is not None and self._algorithm.traits.learns:
            from_, to = np.array(self._space.fractions(wanted)), self._nearest_success(wanted)
            jitter = JITTER * rng.standard_normal(shape) * rng.integers(0, 2, shape)
            way = from_ + rng.random((CANDIDATES, 1)) * (to - from_) + jitter
            fractions = np.concatenate([fractions, way.clip(0, 1)])
        return [self._space.at(each) for each in fractions.tolist()]

    def _nearest_success(self, wanted: Config) -> Array:
        """How far into each range the success is that is nearest; the one wanted, without any."""
        position = np.array(self._space.position(wanted))
        nearest = min(
            self._sound,
            key=lambda place: float(np.linalg.norm(position - place.position)),
            default=None,
        )
        return np.array(self._space.fractions(wanted if nearest is None else nearest.config))

    def _left_over(self) -> Config | None:
        """The first of all configurations that was not tried; None where none is left."""
        try:
            combinations = self._space.combinations()
            return next((each for each in combinations if identity(each) not in self._tried), None)
        except SpaceError:
            return None


@dataclass(frozen=True)
class _Place:
    """A configuration that was tried, or is."""

    config: Config
    position: list[float]
    in_study: int
    """Its trial's number in the study."""


def _few(space: Space) -> dict[Identity, Config] | None:
    """All configurations of a space that has few; None of any other."""
    try:
        some = list(itertools.islice(space.combinations(), CANDIDATES + 1))
    except SpaceError:
        return None
    return {identity(each): each for each in some} if len(some) <= CANDIDATES else None


def _greatest(steps: Sequence[float], limit: float) -> float:
    """The first of the steps, which go down, that is at most the limit."""
    return next(step for step in steps if step <= limit)


def _nearest(positions: Array, places: "Sequence[_Place]") -> Array:
    """The distance of each position, (N, coordinates), to the nearest place; (N,)."""
    if not places:
        return np.full(len(positions), np.inf)
    others = np.array([place.position for place in places])
    differences = positions[:, None, :] - others[None, :, :]
    nearest: Array = np.sqrt((differences**2).sum(axis=2)).min(axis=1)
    return nearest
