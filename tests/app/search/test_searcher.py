"""The configurations that the searcher suggests to Ray; no Ray is started."""

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

Config = dict[str, Any]
X = {"type": "continuous", "low": 0.0, "high": 1.0}
TABLE = {
    "name": "q",
    "trainable": "mnist",
    "metric": "loss",
    "mode": "min",
    "space": {"x": X},
    "search": "random",
}


def make_experiment(**changes: object) -> schema.Experiment:
    return schema.from_table({**TABLE, **changes})


def empty_record() -> Record:
    return Record("q", "loss", "min", 0)


def make_searcher(record: Record | None = None, **changes: Any) -> JournalSearcher:
    return JournalSearcher(make_experiment(**changes), record or empty_record())


def apply_event(record: Record, event: str, trial_id: str, **fields: Any) -> None:
    record.apply({"event": event, "trial_id": trial_id, "run_seconds": 0.0, **fields})


def start(record: Record, trial_id: str, config: Config, leg: int = 1) -> None:
    apply_event(record, "trial", trial_id, config=config, leg=leg)


def report(record: Record, trial_id: str, *losses: float) -> None:
    for epoch, loss in enumerate(losses, 1):
        metrics = {"loss": loss}
        fields = {"metrics": metrics, "seconds": 0.0, "checkpoint": f"tune/{trial_id}/{epoch}"}
        apply_event(record, "epoch", trial_id, epoch=epoch, **fields)


def end(record: Record, trial_id: str, status: str = "completed", error: str | None = None) -> None:
    apply_event(record, "end", trial_id, status=status, error=error)


def train(record: Record, trial_id: str, config: Config, *losses: float) -> None:
    start(record, trial_id, config)
    report(record, trial_id, *losses)
    end(record, trial_id)


def values(suggested: Config) -> Config:
    return {name: value for name, value in suggested.items() if name not in (CONTROL, "seed")}


def test_a_resumed_search_suggests_missing_and_interrupted_trials_first() -> None:
    straight = make_searcher().suggest("t")
    record = empty_record()
    start(record, "002", {"x": 0.25})
    report(record, "002", 0.5)
    train(record, "003", {"x": 0.75}, 0.75)
    search = make_searcher(record)
    suggested = [search.suggest(f"t{number}") for number in range(3)]
    assert [config[CONTROL]["trial_id"] for config in suggested] == ["001", "002", "004"]
    assert suggested[0] == straight
    assert suggested[1]["x"] == 0.25
    assert suggested[1][CONTROL] == {
        "trial_id": "002",
        "checkpoints": [(1, "tune/002/1")],
        "attempt": 2,
    }


def test_a_fixed_seed_of_a_script_is_the_first_trials_seed() -> None:
    experiment = make_experiment(
        trainable="script", script={"entry_point": "/x.py"}, fixed={"seed": 7}
    )
    assert JournalSearcher(experiment, empty_record()).suggest("t0")["seed"] == 7
    assert make_searcher().suggest("t0")["seed"] == 0
    repeated = JournalSearcher(experiment.model_copy(update={"repeats": 2}), empty_record())
    assert [repeated.suggest(f"t{number}")["seed"] for number in range(3)] == [7, 8, 7]


def loss_of(config: Config) -> float | None:
    """A loss that fails below 0.3, where it would be best."""
    return None if config["x"] < 0.3 else float(config["x"])


def finish_by_config(record: Record, trial_id: str, config: Config) -> None:
    finish(record, trial_id, config, loss_of(config))


@pytest.mark.parametrize("search", ["bayesian", "tpe", "random"])
def test_a_resumed_search_suggests_what_it_would_have_suggested(search: str) -> None:
    record = empty_record()
    whole = make_searcher(record, search=search)
    for number in range(6):
        finish_by_config(record, f"{number + 1:03d}", values(whole.suggest(f"t{number}")))
    resumed = make_searcher(record, search=search)
    assert resumed.suggest("again") == whole.suggest("t6")


def test_the_journal_and_not_ray_decides_a_trials_value() -> None:
    """A discarded attempt does not count, whatever Ray says of it."""
    both = []
    for attempts in ([(0.9, 0.1), (0.8, 0.5)], [(0.8, 0.5)]):
        record = empty_record()
        search = make_searcher(record, search="bayesian")
        for number in range(3):
            config = values(search.suggest(f"t{number}"))
            start(record, f"{number + 1:03d}", config)
            for losses in attempts:
                report(record, f"{number + 1:03d}", *(loss + config["x"] for loss in losses))
            search.on_trial_result(f"t{number}", {"loss": 0.0})
            search.on_trial_complete(f"t{number}", {"loss": 0.0}, error=True)
            end(record, f"{number + 1:03d}")
        both.append(search.suggest("t3"))
    assert both[0] == both[1]


BLAMELESS = [node_lost("10.0.0.7 (abc123)"), f"{node_lost('b')}, 11 times"]


@pytest.mark.parametrize("error", BLAMELESS)
def test_a_trial_lost_with_its_node_does_not_change_suggestions(error: str) -> None:
    record = empty_record()
    start(record, "001", {"x": 0.5})
    end(record, "001", "failed", error)
    assert not record.trials["001"].is_bad
    # The second of the first points is unchanged.
    assert make_searcher(record, search="bayesian").suggest("t")["x"] == 0.75


@pytest.mark.parametrize(
    ("losses", "status", "error"),
    [
        ((), "failed", "MemoryError: does not fit"),
        ((0.5, 0.1), "failed", "RuntimeError: an illegal memory access"),
        ((math.nan, math.nan), "completed", None),
        ((math.inf,), "stopped", None),
    ],
)
def test_a_trial_that_failed_by_itself_is_bad(
    losses: tuple[float, ...], status: str, error: str | None
) -> None:
    record = empty_record()
    start(record, "001", {"x": 0.5})
    report(record, "001", *losses)
    end(record, "001", status, error)
    assert record.trials["001"].is_bad


def test_a_trial_that_ended_before_its_first_report_is_not_bad() -> None:
    record = empty_record()
    start(record, "001", {"x": 0.5})
    end(record, "001", "stopped")
    assert not record.trials["001"].is_bad


BOTH = {
    "a": {"type": "categorical", "values": [1, 2]},
    "b": {"type": "categorical", "values": ["x", "y"]},
}


@pytest.mark.parametrize("search", ["bayesian", "tpe", "random", "grid"])
def test_a_finite_space_ends_when_every_combination_was_tried(search: str) -> None:
    record = empty_record()
    searcher = make_searcher(record, space=BOTH, search=search)
    configs = [values(searcher.suggest(f"t{number}")) for number in range(4)]
    assert len({tuple(config.items()) for config in configs}) == 4
    assert searcher.suggest("t4") == Searcher.FINISHED
    assert searcher.ending is not None
    assert (searcher.ending.status, searcher.ending.reason) == (
        "completed",
        "all 4 combinations were tried",
    )
    for number, config in enumerate(configs, 1):
        train(record, f"{number:03d}", config, 0.5)
    assert make_searcher(record, space=BOTH, search=search).is_over


@pytest.mark.parametrize("search", ["bayesian", "random", "grid"])
def test_repeats_share_a_configuration_and_have_seeds_of_their_own(search: str) -> None:
    """Also while all of them are in training, and in a run that is resumed between them."""
    record = empty_record()
    searcher = make_searcher(record, space=BOTH, search=search, seed=5, repeats=2)
    once = make_searcher(space=BOTH, search=search, seed=5)
    suggested = [searcher.suggest(f"t{number}") for number in range(7)]
    configs = [values(once.suggest(f"t{number}")) for number in range(4)]
    assert [config["seed"] for config in suggested] == [5, 6, 5, 6, 5, 6, 5]
    assert [values(config) for config in suggested] == [configs[number // 2] for number in range(7)]
    assert searcher.ending is None
    last = searcher.suggest("t7")
    assert searcher.suggest("t8") == Searcher.FINISHED
    assert searcher.ending is not None
    assert searcher.ending.reason == "all 4 combinations were tried"
    for number, config in enumerate(suggested, 1):
        train(record, f"{number:03d}", values(config), 0.5)
    resumed = make_searcher(record, space=BOTH, search=search, seed=5, repeats=2)
    assert not resumed.is_over
    assert resumed.suggest("t") == last
    train(record, "008", values(last), 0.5)
    assert make_searcher(record, space=BOTH, search=search, seed=5, repeats=2).is_over


def test_a_repeat_that_the_journal_lacks_has_the_configuration_of_the_others() -> None:
    record = empty_record()
    train(record, "002", {"x": 0.25}, 0.5)
    search = make_searcher(record, repeats=2)
    first, other = search.suggest("t0"), search.suggest("t1")
    assert (first["x"], first["seed"], first[CONTROL]["trial_id"]) == (0.25, 0, "001")
    assert (other["seed"], other[CONTROL]["trial_id"]) == (0, "003")
    assert other["x"] != 0.25


def test_the_value_of_repeats_is_their_mean() -> None:
    """Repeats without a value are left out; if none has one, the configuration failed."""
    several, once = empty_record(), empty_record()
    repeated = make_searcher(several, search="bayesian", repeats=3)
    single = make_searcher(once, search="bayesian")
    found: list[tuple[float | None, ...]] = [(0.25, 0.5, 0.75), (None, 0.25, 0.5), (None,) * 3]
    for number, (losses, loss) in enumerate(zip(found, (0.5, 0.375, None), strict=True)):
        config = values(single.suggest(f"t{number}"))
        finish(once, f"{number + 1:03d}", config, loss)
        for repeat, loss_of_repeat in enumerate(losses, 3 * number):
            assert values(repeated.suggest(f"t{repeat}")) == config
            finish(several, f"{repeat + 1:03d}", config, loss_of_repeat)
    expected = values(single.suggest("next"))
    assert values(repeated.suggest("next")) == expected
    resumed = make_searcher(several, search="bayesian", repeats=3)
    assert values(resumed.suggest("next")) == expected


def finish(record: Record, trial_id: str, config: Config, loss: float | None) -> None:
    if loss is not None:
        train(record, trial_id, config, loss)
        return
    start(record, trial_id, config)
    end(record, trial_id, "failed", "MemoryError: it does not fit")


def test_a_search_with_an_interrupted_trial_is_not_over() -> None:
    record = empty_record()
    space = {"b": {"type": "categorical", "values": ["x", "y"]}}
    train(record, "001", {"b": "y"}, 0.5)
    start(record, "002", {"b": "x"})
    search = make_searcher(record, space=space)
    assert not search.is_over
    assert search.suggest("t")["b"] == "x"
    assert search.suggest("t2") == Searcher.FINISHED


def test_a_space_of_one_combination_ends_with_a_sentence_of_its_own() -> None:
    search = make_searcher(space={"x": {"type": "continuous", "low": 0.5, "high": 0.5}})
    assert search.suggest("t")["x"] == 0.5
    assert search.ending is not None
    assert search.ending.reason == "the only combination was tried"


def test_configurations_of_earlier_runs_are_not_suggested_again() -> None:
    evaluations = [Evaluation({"a": 1, "b": "x"}, 0.5), Evaluation({"a": 2, "b": "y"}, 0.1)]
    warm = WarmStart(tuple(evaluations), failures=({"a": 1, "b": "y"},))
    search = JournalSearcher(make_experiment(space=BOTH), empty_record(), warm)
    assert values(search.suggest("t")) == {"a": 2, "b": "x"}
    assert search.suggest("t2") == Searcher.FINISHED


def test_a_parameter_name_may_have_a_slash() -> None:
    # Ray's own searcher reads a slash as a nested table.
    search = make_searcher(space={"optimizer/lr": X}, search="bayesian")
    assert search.suggest("t")["optimizer/lr"] == 0.5


def test_tune_pickles_nothing_of_the_searcher() -> None:
    assert make_searcher().__getstate__() == {}
