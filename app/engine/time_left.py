"""Estimate of a run's remaining time: made at each report, so that it shrinks until the next."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from app.run.formatting import duration
from app.run.status import SUCCESSFUL, TrialStatus
from app.run.trial import Trial

if TYPE_CHECKING:
    from app.engine.plan import RunState

MOST_BEGUN = 0.9
"""The part of an epoch that counts as done at most before it is reported."""
STEPS_S = ((60, 5), (600, 10), (float("inf"), 60))
"""Seconds to which an estimate is rounded, by the estimates that are shorter."""


class TimeLeft:
    """Counts a run's work, in epochs or, where nobody knows how many there are, in trials."""

    def __init__(self, plan: "RunState", clock: Callable[[], float] = time.monotonic) -> None:
        self._plan = plan
        self._clock = clock
        self._began = clock()
        self._earlier_s = plan.record.seconds
        self._earlier_work = self._work()[0]
        self._marks: dict[str, float] = {}
        """When each trial that is running last had a whole unit of work done."""
        self._units: list[float] = []
        """Seconds that each unit took, from mark to mark."""
        self._reported: float | None = None
        """When a trial last reported or ended: the estimate is made for then, and shrinks."""

    @property
    def elapsed_s(self) -> float:
        """Seconds that the run has taken, in earlier attempts too."""
        return self._earlier_s + self._clock() - self._began

    def update(self, event: str, trial: Trial) -> None:
        """Estimate anew after an event of a trial."""
        now = self._clock()
        if trial.status == TrialStatus.RUNNING and event != "epoch":
            self._marks[trial.trial_id] = now
            return
        if event == "end" or self._epochs is not None:
            mark = self._marks.pop(trial.trial_id, None)
            if mark is not None and trial.history:
                self._units.append(now - mark)
            if trial.status == TrialStatus.RUNNING:
                self._marks[trial.trial_id] = now
        self._reported = now

    def seconds(self) -> float | None:
        """Return the seconds left, 0 where they are over; None where nothing is known yet."""
        ends_at = self._ends_at()
        left = None if ends_at is None else max(ends_at - self._clock(), 0.0)
        budget = self._plan.experiment.time_budget
        if budget is None:
            return left
        rest = max(budget - self.elapsed_s, 0.0)
        return rest if left is None else min(left, rest)

    def describe(self) -> str:
        """Return the time left in words; empty where nothing is known or nothing is left."""
        seconds, (done, total) = self.seconds(), self._work()
        if seconds is None or done >= total:
            return ""
        if not seconds:
            return "longer than expected"
        step = next(step for limit, step in STEPS_S if seconds < limit)
        return f"about {duration(max(round(seconds / step), 1) * step)} left"

    def _ends_at(self) -> float | None:
        if self._reported is None:
            return None
        now, (done, total) = self._reported, self._work()
        done_now = done - self._earlier_work + self._begun(now)
        if done_now <= 0:
            return None
        left = max(total - self._earlier_work - done_now, 0.0)
        return now + left * (now - self._began) / done_now

    def _begun(self, now: float) -> float:
        """The part of units that are in work: they would seem to take longer without it."""
        if not self._units:
            return 0.0
        unit_s = sum(self._units) / len(self._units)
        if not unit_s:
            return 0.0
        return sum(min((now - mark) / unit_s, MOST_BEGUN) for mark in self._marks.values())

    @property
    def _epochs(self) -> int | None:
        kind = self._plan.experiment.kind
        return None if kind.expected_epochs is None else self._plan.experiment.epochs

    def _work(self) -> tuple[int, int]:
        """Work that is done, and all of it; a trial that was stopped counts as whole.

        One that failed says nothing of how long the others take: only its epochs count.
        """
        whole, trials = self._epochs or 1, list(self._plan.record.trials.values())
        done, total = 0, self._plan.experiment.num_samples * whole
        for trial in trials:
            epochs = 0 if self._epochs is None else trial.epochs
            if trial.status == TrialStatus.FAILED:
                total -= whole - epochs
            done += whole if trial.status in SUCCESSFUL else epochs
        return done, total
