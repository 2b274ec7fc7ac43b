"""What a new search takes over from earlier runs."""

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


def asked(**changes: Any) -> Experiment:
    return schema.from_table({**TABLE, **changes})


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes a run with a trial for each x, of the given status; its loss is x."""

    def written(
        *trials: tuple[float, str],
        error: str | None = None,
        loss: float | None = None,
        **changes: Any,
    ) -> store.Run:
        folder = tmp_path / "earlier"
        folder.mkdir()
        made = asked(**changes)
        (folder / EXPERIMENT).write_text(json.dumps({**made.as_json(), "threads": 1}))
        journal = Journal(folder, Record("earlier", made.metric, made.mode, 0))
        journal.append("run", versions={})
        for number, (x, status) in enumerate(trials, 1):
            told = {"trial_id": f"{number:03d}"}
            journal.append("trial", **told, config={"x": x}, leg=1)
            if status != "failed":
                metrics = {made.metric: x if loss is None else loss}
                journal.append(
                    "epoch", **told, epoch=1, metrics=metrics, seconds=1, checkpoint=None
                )
            failure = error if status == "failed" else None
            journal.append("end", **told, status=status, error=failure)
        journal.close()
        return store.read(folder)

    return written


def test_trials_of_the_same_experiment_are_reused_as_they_are(make: Make) -> None:
    earlier = make((0.25, "completed"), (0.5, "stopped"), (0.75, "failed"))
    taken = warm_start(asked(), [earlier])
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
def test_what_another_experiment_found_is_tried_again_the_best_first(
    make: Make, changes: dict[str, Any]
) -> None:
    earlier = make((0.5, "completed"), (0.25, "completed"), **changes)
    taken = warm_start(asked(), [earlier])
    assert taken.evaluations == ()
    assert taken.points == ({"x": 0.25}, {"x": 0.5})


def test_what_the_new_space_does_not_hold_is_dropped_and_said(make: Make) -> None:
    earlier = make((0.25, "completed"), (0.9, "completed"))
    half = {"x": {"type": "continuous", "low": 0.0, "high": 0.5}}
    both = {**half, "y": {"type": "integer", "low": 1, "high": 3}}
    assert warm_start(asked(space=half), [earlier]).messages == (
        "warm start from earlier: 1 trial reused, 0 to be tried again, 1 dropped"
        " (1: its x of 0.9 is outside the space)",
    )
    assert (
        "2 dropped (1: it has no y; 1: its x of 0.9"
        in warm_start(asked(space=both), [earlier]).messages[0]
    )


def test_a_value_that_was_fixed_counts_where_it_is_searched_now(make: Make) -> None:
    earlier = make((0.25, "completed"))
    space = {**TABLE["space"], "momentum": {"type": "continuous", "low": 0.0, "high": 0.9}}
    taken = warm_start(asked(space=space, fixed={}), [earlier])
    assert taken.evaluations == (Evaluation({"x": 0.25, "momentum": 0.5}, 0.25),)


def test_a_configuration_that_was_tried_several_times_has_the_mean_of_its_values(
    make: Make,
) -> None:
    twice = make((0.25, "completed"), (0.25, "failed"), (0.5, "failed"), (0.5, "failed"))
    result = json.loads(json.dumps(twice.result))
    result["trials"][0]["metrics"]["loss"] = 0.75
    again = store.Run(twice.folder, result)
    taken = warm_start(asked(), [twice, again])
    assert taken.evaluations == (Evaluation({"x": 0.25}, 0.5),)
    # Nor is it avoided for having failed once.
    assert taken.failures == ({"x": 0.5},)


def test_grid_search_takes_nothing_over(make: Make) -> None:
    steps = {"x": {"type": "continuous", "low": 0.0, "high": 1.0, "step": 0.5}}
    with pytest.raises(ExperimentError, match=r"^--warm-start: grid search tries every"):
        warm_start(asked(space=steps, search="grid"), [make((0.5, "completed"))])


@pytest.mark.parametrize(("error", "avoided"), [("MemoryError", 1), (node_lost("b"), 0)])
def test_what_was_lost_with_its_node_or_failed_elsewhere_is_not_avoided(
    make: Make, error: str, avoided: int
) -> None:
    earlier = make((0.25, "completed"), (0.75, "failed"), error=error)
    assert len(warm_start(asked(), [earlier]).failures) == avoided
    assert warm_start(asked(epochs=2), [earlier]).failures == ()


def test_a_trial_that_reported_nothing_finite_is_avoided(make: Make) -> None:
    taken = warm_start(asked(), [make((0.5, "completed"), loss=math.nan)])
    assert len(taken.failures) == 1


def suggested(taken: WarmStart, count: int = 1) -> list[float]:
    record = Record("q", "loss", "min", 0)
    search = JournalSearcher(asked(), record, WarmStart.from_json(taken.as_json()))
    return [search.suggest(f"t{number}")["x"] for number in range(count)]


def test_what_was_evaluated_teaches_the_search_and_is_not_tried_again(make: Make) -> None:
    taken = warm_start(asked(), [make((0.25, "completed"), (0.5, "completed"))])
    xs = suggested(taken, 3)
    # None of the points that spread over the space, where nothing is known.
    assert {0.25, 0.5, 0.75}.isdisjoint(xs)
    assert xs[0] < 0.25


def test_the_search_begins_in_spite_of_failures_alone(make: Make) -> None:
    taken = warm_start(asked(), [make((0.5, "failed"))])
    assert suggested(taken, 2) == [0.75, 0.25]


def test_the_search_tries_the_points_before_its_own(make: Make) -> None:
    taken = warm_start(asked(), [make((0.3, "completed"), epochs=2)])
    assert suggested(taken, 2) == [0.3, 0.5]
