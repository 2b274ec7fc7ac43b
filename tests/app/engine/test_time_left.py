"""The estimate of a run's remaining time, by a clock that the tests move."""

from typing import Any

from app.engine.plan import Plan
from app.engine.time_left import TimeLeft
from tests.support.plans import Clock, apply, epoch, plan


class Search:
    """A run whose events move the clock."""

    def __init__(self, going_on: Plan) -> None:
        self.record = going_on.record
        self.clock = Clock()
        self.left = TimeLeft(going_on, self.clock)

    def tell(self, event: str, trial_id: str, **fields: Any) -> None:
        apply(self.record, event, trial_id, **fields)
        self.left.update(event, self.record.trials[trial_id])

    def train(self, trial_id: str, *epochs: int, each_s: float) -> None:
        """Train a trial by itself."""
        for number in epochs:
            self.clock.now += each_s
            self.tell("epoch", trial_id, **epoch(number, 0.5))


def begun(**changes: Any) -> Search:
    search = Search(plan(**changes))
    search.tell("trial", "001", config={"x": 0.5}, leg=1)
    return search


def test_it_shrinks_while_one_waits() -> None:
    search = begun(epochs=10)
    search.train("001", 1, each_s=10.0)
    shown = []
    for _ in range(30):
        left = search.left.seconds()
        assert left is not None
        shown.append(left)
        search.clock.now += 10.0
    assert shown[0] == 290.0  # 29 epochs of 10 s
    assert shown == sorted(shown, reverse=True)
    assert shown[29] == 0.0
    assert search.left.describe() == "longer than expected"


def test_it_shrinks_from_epoch_to_epoch() -> None:
    search = begun(num_samples=1, epochs=5)
    shown = []
    for number in range(1, 6):
        search.train("001", number, each_s=100.0)
        shown.append(search.left.describe())
    assert shown == [
        "about 6 min 40 s left",
        "about 5 min 0 s left",
        "about 3 min 20 s left",
        "about 1 min 40 s left",
        "",
    ]


def test_trials_that_run_beside_count_for_what_they_have_begun() -> None:
    search = begun(num_samples=2, epochs=10)
    search.tell("trial", "002", config={"x": 0.5}, leg=1)
    search.train("001", 1, each_s=10.0)
    left = search.left.seconds()
    assert left is not None
    assert 90 <= left < 100  # 9 epochs of both, and not 19 of one


def test_nothing_is_said_before_anything_is_known() -> None:
    search = begun()
    assert search.left.describe() == ""
    search.clock.now += 3.0
    assert search.left.describe() == ""
    assert search.left.elapsed_s == 3.0


def test_a_trial_that_was_stopped_is_whole_and_one_that_failed_tells_nothing() -> None:
    search = begun(epochs=10)
    search.train("001", 1, 2, each_s=10.0)
    assert search.left.seconds() == 280.0
    search.tell("end", "001", status="stopped", error=None)
    assert search.left.seconds() == 40.0
    search.tell("trial", "002", config={"x": 0.5}, leg=1)
    search.tell("end", "002", status="failed", error="ValueError: no")
    assert search.left.seconds() == 20.0


def test_a_script_of_unknown_epochs_is_estimated_by_its_trials() -> None:
    search = begun(trainable="script", script={"entry_point": "/x.py"})
    search.train("001", 1, 2, each_s=30.0)
    assert search.left.describe() == ""
    search.tell("end", "001", status="completed", error=None)
    assert search.left.describe() == "about 2 min 0 s left"


def test_a_time_budget_bounds_it() -> None:
    search = begun(epochs=10, time_budget=60.0)
    assert search.left.describe() == "about 1 min 0 s left"
    search.train("001", 1, each_s=20.0)
    assert search.left.describe() == "about 40 s left"


def test_a_run_that_goes_on_is_estimated_by_what_it_does_now() -> None:
    going_on = plan(num_samples=1, epochs=4)
    apply(going_on.record, "trial", "001", config={"x": 0.5}, leg=1)
    apply(going_on.record, "epoch", "001", **epoch(1, 0.5))
    going_on.record.seconds = 1000.0
    search = Search(going_on)
    search.tell("trial", "001", config={"x": 0.5}, leg=2)
    search.train("001", 2, each_s=10.0)
    assert search.left.seconds() == 20.0
    assert search.left.elapsed_s == 1010.0
