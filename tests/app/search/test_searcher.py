"""What the searcher gives Ray, first and after an interrupt; no Ray is started."""

import math
from typing import Any

import pytest
from ray.tune.search import Searcher

from app.experiment import schema
from app.experiment.result_keys import CONTROL
from app.run.record import Record
from app.run.trial import node_lost
from app.search.searcher import JournalSearcher
from app.search.warm_start import Evaluation, WarmStart

Told = dict[str, Any]
X = {"type": "continuous", "low": 0.0, "high": 1.0}
TABLE = {
    "name": "q",
    "trainable": "mnist",
    "metric": "loss",
    "mode": "min",
    "space": {"x": X},
    "search": "random",
}


def asked(**changes: object) -> schema.Experiment:
    return schema.from_table({**TABLE, **changes})


def record() -> Record:
    return Record("q", "loss", "min", 0)


def searching(told: Record | None = None, **changes: Any) -> JournalSearcher:
    own = asked(**changes)
    return JournalSearcher(own, told or record())


def happened(told: Record, event: str, trial_id: str, **fields: Any) -> None:
    told.apply({"event": event, "trial_id": trial_id, "run_seconds": 0.0, **fields})


def began(told: Record, trial_id: str, config: Told, leg: int = 1) -> None:
    happened(told, "trial", trial_id, config=config, leg=leg)


def reported(told: Record, trial_id: str, *losses: float) -> None:
    for epoch, loss in enumerate(losses, 1):
        metrics = {"loss": loss}
        fields = {"metrics": metrics, "seconds": 0.0, "checkpoint": f"tune/{trial_id}/{epoch}"}
        happened(told, "epoch", trial_id, epoch=epoch, **fields)


def ended(told: Record, trial_id: str, status: str = "completed", error: str | None = None) -> None:
    happened(told, "end", trial_id, status=status, error=error)


def trained(told: Record, trial_id: str, config: Told, *losses: float) -> None:
    began(told, trial_id, config)
    reported(told, trial_id, *losses)
    ended(told, trial_id)


def values(suggested: Told) -> Told:
    return {name: value for name, value in suggested.items() if name not in (CONTROL, "seed")}


def test_interrupted_trials_keep_their_numbers_and_gaps_are_filled() -> None:
    straight = searching().suggest("t")
    told = record()
    began(told, "002", {"x": 0.25})
    reported(told, "002", 0.5)
    trained(told, "003", {"x": 0.75}, 0.75)
    search = searching(told)
    suggested = [search.suggest(f"t{number}") for number in range(3)]
    assert [config[CONTROL]["trial_id"] for config in suggested] == ["001", "002", "004"]
    assert suggested[0] == straight
    assert suggested[1]["x"] == 0.25
    assert suggested[1][CONTROL] == {
        "trial_id": "002",
        "checkpoints": [(1, "tune/002/1")],
        "leg": 2,
    }


def test_a_script_may_have_a_seed_of_its_own() -> None:
    own = asked(trainable="script", script={"entry_point": "/x.py"}, fixed={"seed": 7})
    assert JournalSearcher(own, record()).suggest("t0")["seed"] == 7
    assert searching().suggest("t0")["seed"] == 0
    repeated = JournalSearcher(own.model_copy(update={"repeats": 2}), record())
    assert [repeated.suggest(f"t{number}")["seed"] for number in range(3)] == [7, 8, 7]


def loss_of(config: Told) -> float | None:
    """Nothing below 0.3, where the best would be."""
    return None if config["x"] < 0.3 else float(config["x"])


def go_on(told: Record, trial_id: str, config: Told) -> None:
    told_of(told, trial_id, config, loss_of(config))


@pytest.mark.parametrize("search", ["bayesian", "tpe", "random"])
def test_a_resumed_search_proposes_what_it_would_have_proposed(search: str) -> None:
    told = record()
    whole = searching(told, search=search)
    for number in range(6):
        go_on(told, f"{number + 1:03d}", values(whole.suggest(f"t{number}")))
    resumed = searching(told, search=search)
    assert resumed.suggest("again") == whole.suggest("t6")


def test_the_journal_decides_what_a_trial_came_to() -> None:
    """An attempt that was thrown away does not count, whatever Ray says of it."""
    both = []
    for attempts in ([(0.9, 0.1), (0.8, 0.5)], [(0.8, 0.5)]):
        told = record()
        search = searching(told, search="bayesian")
        for number in range(3):
            config = values(search.suggest(f"t{number}"))
            began(told, f"{number + 1:03d}", config)
            for losses in attempts:
                reported(told, f"{number + 1:03d}", *(loss + config["x"] for loss in losses))
            search.on_trial_result(f"t{number}", {"loss": 0.0})
            search.on_trial_complete(f"t{number}", {"loss": 0.0}, error=True)
            ended(told, f"{number + 1:03d}")
        both.append(search.suggest("t3"))
    assert both[0] == both[1]


BLAMELESS = [node_lost("10.0.0.7 (abc123)"), f"{node_lost('b')}, 11 times"]


@pytest.mark.parametrize("error", BLAMELESS)
def test_a_trial_that_was_lost_with_its_nodes_teaches_nothing(error: str) -> None:
    told = record()
    began(told, "001", {"x": 0.5})
    ended(told, "001", "failed", error)
    assert not told.trials["001"].is_bad
    # Nothing was learned: the second of the points to begin with is as it stands.
    assert searching(told, search="bayesian").suggest("t")["x"] == 0.75


@pytest.mark.parametrize(
    ("losses", "status", "error"),
    [
        ((), "failed", "MemoryError: does not fit"),
        ((0.5, 0.1), "failed", "RuntimeError: an illegal memory access"),
        ((math.nan, math.nan), "completed", None),
        ((math.inf,), "stopped", None),
    ],
)
def test_what_failed_by_itself_is_bad(
    losses: tuple[float, ...], status: str, error: str | None
) -> None:
    told = record()
    began(told, "001", {"x": 0.5})
    reported(told, "001", *losses)
    ended(told, "001", status, error)
    assert told.trials["001"].is_bad


def test_what_the_run_ended_before_it_reported_anything_is_not_bad() -> None:
    told = record()
    began(told, "001", {"x": 0.5})
    ended(told, "001", "stopped")
    assert not told.trials["001"].is_bad


BOTH = {
    "a": {"type": "categorical", "values": [1, 2]},
    "b": {"type": "categorical", "values": ["x", "y"]},
}


@pytest.mark.parametrize("search", ["bayesian", "tpe", "random", "grid"])
def test_a_finite_space_ends_when_all_was_tried(search: str) -> None:
    told = record()
    own = searching(told, space=BOTH, search=search)
    configs = [values(own.suggest(f"t{number}")) for number in range(4)]
    assert len({tuple(config.items()) for config in configs}) == 4
    assert own.suggest("t4") == Searcher.FINISHED
    assert own.ending is not None
    assert (own.ending.status, own.ending.reason) == ("completed", "all 4 combinations were tried")
    for number, config in enumerate(configs, 1):
        trained(told, f"{number:03d}", config, 0.5)
    assert searching(told, space=BOTH, search=search).is_over


@pytest.mark.parametrize("search", ["bayesian", "random", "grid"])
def test_repeats_have_one_configuration_and_a_seed_each(search: str) -> None:
    """Also while all of them are in training, and in a run that is resumed among them."""
    told = record()
    own = searching(told, space=BOTH, search=search, seed=5, repeats=2)
    once = searching(space=BOTH, search=search, seed=5)
    given = [own.suggest(f"t{number}") for number in range(7)]
    configs = [values(once.suggest(f"t{number}")) for number in range(4)]
    assert [config["seed"] for config in given] == [5, 6, 5, 6, 5, 6, 5]
    assert [values(config) for config in given] == [configs[number // 2] for number in range(7)]
    assert own.ending is None
    last = own.suggest("t7")
    assert own.suggest("t8") == Searcher.FINISHED
    assert own.ending is not None
    assert own.ending.reason == "all 4 combinations were tried"
    for number, config in enumerate(given, 1):
        trained(told, f"{number:03d}", values(config), 0.5)
    resumed = searching(told, space=BOTH, search=search, seed=5, repeats=2)
    assert not resumed.is_over
    assert resumed.suggest("t") == last
    trained(told, "008", values(last), 0.5)
    assert searching(told, space=BOTH, search=search, seed=5, repeats=2).is_over


def test_a_repeat_of_which_nobody_was_told_has_its_fellows_configuration() -> None:
    told = record()
    trained(told, "002", {"x": 0.25}, 0.5)
    search = searching(told, repeats=2)
    first, other = search.suggest("t0"), search.suggest("t1")
    assert (first["x"], first["seed"], first[CONTROL]["trial_id"]) == (0.25, 0, "001")
    assert (other["seed"], other[CONTROL]["trial_id"]) == (0, "003")
    assert other["x"] != 0.25


def test_what_is_learned_of_repeats_is_the_mean_of_their_values() -> None:
    """Those that have none do not count while another has one; where none has, all failed."""
    several, once = record(), record()
    repeated = searching(several, search="bayesian", repeats=3)
    single = searching(once, search="bayesian")
    found: list[tuple[float | None, ...]] = [(0.25, 0.5, 0.75), (None, 0.25, 0.5), (None,) * 3]
    for number, (losses, loss) in enumerate(zip(found, (0.5, 0.375, None), strict=True)):
        config = values(single.suggest(f"t{number}"))
        told_of(once, f"{number + 1:03d}", config, loss)
        for repeat, each in enumerate(losses, 3 * number):
            assert values(repeated.suggest(f"t{repeat}")) == config
            told_of(several, f"{repeat + 1:03d}", config, each)
    expected = values(single.suggest("next"))
    assert values(repeated.suggest("next")) == expected
    resumed = searching(several, search="bayesian", repeats=3)
    assert values(resumed.suggest("next")) == expected


def told_of(told: Record, trial_id: str, config: Told, loss: float | None) -> None:
    if loss is not None:
        trained(told, trial_id, config, loss)
        return
    began(told, trial_id, config)
    ended(told, trial_id, "failed", "MemoryError: it does not fit")


def test_a_search_with_an_interrupted_trial_is_not_over() -> None:
    told = record()
    space = {"b": {"type": "categorical", "values": ["x", "y"]}}
    trained(told, "001", {"b": "y"}, 0.5)
    began(told, "002", {"b": "x"})
    search = searching(told, space=space)
    assert not search.is_over
    assert search.suggest("t")["b"] == "x"
    assert search.suggest("t2") == Searcher.FINISHED


def test_a_space_of_one_combination_is_said_as_such() -> None:
    search = searching(space={"x": {"type": "continuous", "low": 0.5, "high": 0.5}})
    assert search.suggest("t")["x"] == 0.5
    assert search.ending is not None
    assert search.ending.reason == "the only combination was tried"


def test_what_earlier_runs_tried_is_not_tried_again() -> None:
    known = [Evaluation({"a": 1, "b": "x"}, 0.5), Evaluation({"a": 2, "b": "y"}, 0.1)]
    warm = WarmStart(tuple(known), failures=({"a": 1, "b": "y"},))
    search = JournalSearcher(asked(space=BOTH), record(), warm)
    assert values(search.suggest("t")) == {"a": 2, "b": "x"}
    assert search.suggest("t2") == Searcher.FINISHED


def test_points_are_tried_whatever_their_parameters_are_called() -> None:
    # To Ray's own searcher a slash begins a nested table.
    search = searching(space={"optimizer/lr": X}, search="bayesian")
    assert search.suggest("t")["optimizer/lr"] == 0.5


def test_what_tune_keeps_of_the_searcher_is_nothing() -> None:
    assert searching().__getstate__() == {}
