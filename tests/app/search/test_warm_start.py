"""The trials that a new search takes over from earlier runs."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.experiment import schema
from app.experiment.errors import ExperimentError
from app.experiment.schema import Experiment
from app.run import store
from app.run.journal import Journal
from app.run.layout import EXPERIMENT
from app.run.record import Record
from app.run.trial import node_lost
from app.search.searcher import JournalSearcher
from app.search.warm_start import Evaluation, WarmStart, warm_start

TABLE: dict[str, Any] = {
    "name": "q",
    "trainable": "mnist",
    "metric": "loss",
    "mode": "min",
    "space": {"x": {"type": "continuous", "low": 0.0, "high": 1.0}},
    "fixed": {"momentum": 0.5},
    "search": "bayesian",
}
Make = Callable[..., store.Run]


def make_experiment(**changes: Any) -> Experiment:
    return schema.from_table({**TABLE, **changes})


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes a run with a trial for each x and status; its loss is x."""

    def written(
        *trials: tuple[float, str],
        error: str | None = None,
        loss: float | None = None,
        **changes: Any,
    ) -> store.Run:
        folder = tmp_path / "earlier"
        folder.mkdir()
        made = make_experiment(**changes)
        (folder / EXPERIMENT).write_text(json.dumps({**made.as_json(), "threads": 1}))
        journal = Journal(folder, Record("earlier", made.metric, made.mode, 0))
        journal.append("run", versions={})
        for number, (x, status) in enumerate(trials, 1):
            trial = {"trial_id": f"{number:03d}"}
            journal.append("trial", **trial, config={"x": x}, leg=1)
            if status != "failed":
                metrics = {made.metric: x if loss is None else loss}
                journal.append(
                    "epoch", **trial, epoch=1, metrics=metrics, seconds=1, checkpoint=None
                )
            failure = error if status == "failed" else None
            journal.append("end", **trial, status=status, error=failure)
        journal.close()
        return store.read(folder)

    return written


def test_trials_of_the_same_experiment_are_evaluations(make: Make) -> None:
    earlier = make((0.25, "completed"), (0.5, "stopped"), (0.75, "failed"))
    taken = warm_start(make_experiment(), [earlier])
    assert taken.evaluations == (Evaluation({"x": 0.25}, 0.25), Evaluation({"x": 0.5}, 0.5))
    assert taken.points == ()
    assert taken.failures == ({"x": 0.75},)
    assert taken.messages == (
        "warm start from earlier: 2 trials reused, 1 that failed avoided, 0 to be tried again,"
        " 0 dropped",
    )


@pytest.mark.parametrize(
    "changes", [{"fixed": {"momentum": 0.9}}, {"epochs": 2}, {"trainable": "other.py:Other"}]
)
def test_trials_of_another_experiment_are_points_the_best_first(
    make: Make, changes: dict[str, Any]
) -> None:
    earlier = make((0.5, "completed"), (0.25, "completed"), **changes)
    taken = warm_start(make_experiment(), [earlier])
    assert taken.evaluations == ()
    assert taken.points == ({"x": 0.25}, {"x": 0.5})


def test_a_trial_outside_the_new_space_is_dropped_with_a_reason(make: Make) -> None:
    earlier = make((0.25, "completed"), (0.9, "completed"))
    half = {"x": {"type": "continuous", "low": 0.0, "high": 0.5}}
    both = {**half, "y": {"type": "integer", "low": 1, "high": 3}}
    assert warm_start(make_experiment(space=half), [earlier]).messages == (
        "warm start from earlier: 1 trial reused, 0 to be tried again, 1 dropped"
        " (1: its x of 0.9 is outside the space)",
    )
    assert (
        "2 dropped (1: it has no y; 1: its x of 0.9"
        in warm_start(make_experiment(space=both), [earlier]).messages[0]
    )


def test_a_fixed_value_counts_for_a_parameter_that_is_now_searched(make: Make) -> None:
    earlier = make((0.25, "completed"))
    space = {**TABLE["space"], "momentum": {"type": "continuous", "low": 0.0, "high": 0.9}}
    taken = warm_start(make_experiment(space=space, fixed={}), [earlier])
    assert taken.evaluations == (Evaluation({"x": 0.25, "momentum": 0.5}, 0.25),)


def test_a_configuration_of_several_trials_has_their_mean_value(
    make: Make,
) -> None:
    twice = make((0.25, "completed"), (0.25, "failed"), (0.5, "failed"), (0.5, "failed"))
    result = json.loads(json.dumps(twice.result))
    result["trials"][0]["metrics"]["loss"] = 0.75
    again = store.Run(twice.folder, result)
    taken = warm_start(make_experiment(), [twice, again])
    assert taken.evaluations == (Evaluation({"x": 0.25}, 0.5),)
    # The failure of one of its trials does not count.
    assert taken.failures == ({"x": 0.5},)


def test_grid_search_refuses_a_warm_start(make: Make) -> None:
    steps = {"x": {"type": "continuous", "low": 0.0, "high": 1.0, "step": 0.5}}
    with pytest.raises(ExperimentError, match=r"^--warm-start: grid search tries every"):
        warm_start(make_experiment(space=steps, search="grid"), [make((0.5, "completed"))])


@pytest.mark.parametrize(("error", "avoided"), [("MemoryError", 1), (node_lost("b"), 0)])
def test_only_failures_by_themselves_of_the_same_experiment_are_avoided(
    make: Make, error: str, avoided: int
) -> None:
    earlier = make((0.25, "completed"), (0.75, "failed"), error=error)
    assert len(warm_start(make_experiment(), [earlier]).failures) == avoided
    assert warm_start(make_experiment(epochs=2), [earlier]).failures == ()


def test_a_trial_that_reported_nothing_finite_is_avoided(make: Make) -> None:
    taken = warm_start(make_experiment(), [make((0.5, "completed"), loss=math.nan)])
    assert len(taken.failures) == 1


def suggest(taken: WarmStart, count: int = 1) -> list[float]:
    record = Record("q", "loss", "min", 0)
    search = JournalSearcher(make_experiment(), record, WarmStart.from_json(taken.as_json()))
    return [search.suggest(f"t{number}")["x"] for number in range(count)]


def test_evaluations_replace_the_first_points_of_the_sampler(make: Make) -> None:
    taken = warm_start(make_experiment(), [make((0.25, "completed"), (0.5, "completed"))])
    xs = suggest(taken, 3)
    # None of the points with which a search without knowledge starts.
    assert {0.25, 0.5, 0.75}.isdisjoint(xs)
    assert xs[0] < 0.25


def test_a_search_that_knows_only_failures_keeps_its_first_points(make: Make) -> None:
    taken = warm_start(make_experiment(), [make((0.5, "failed"))])
    assert suggest(taken, 2) == [0.75, 0.25]


def test_points_come_before_the_first_points_of_the_sampler(make: Make) -> None:
    taken = warm_start(make_experiment(), [make((0.3, "completed"), epochs=2)])
    assert suggest(taken, 2) == [0.3, 0.5]
