"""Suggestions of a search: none twice, and away from failures."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from app.experiment.objective import Objective
from app.experiment.space import identity, parse
from app.search.proposals import Proposals

Config = dict[str, Any]
LR = {"lr": {"type": "continuous", "low": 0.001, "high": 0.1, "scale": "log"}}
WHOLE = {
    "layers": {"type": "integer", "low": 1, "high": 4},
    "bias": {"type": "categorical", "values": [True, False]},
}
STEPS = {"p": {"type": "continuous", "low": 0.0, "high": 0.5, "step": 0.1}}
CONDITIONAL = {
    "kind": {"type": "categorical", "values": ["plain", "deep"]},
    "depth": {"type": "integer", "low": 2, "high": 4, "when": {"kind": ["deep"]}},
}
LARGE = {"n": {"type": "integer", "low": 1, "high": 10_000}}


def make_proposals(space: Mapping[str, Any], search: str, *, mode: str = "min") -> Proposals:
    return Proposals(parse(space), search, seed=1, objective=Objective("loss", mode))


def search_through(
    proposals: Proposals,
    value: Callable[[Config], float | None],
    trials: int = 9,
    *,
    at_once: int = 1,
) -> list[Config]:
    """Evaluate `at_once` configurations at a time, all equally long."""
    configs: list[Config] = []
    for number in range(trials):
        if number >= at_once:
            proposals.tell(number - at_once, value(configs[number - at_once]))
        config = proposals.suggest(number)
        if config is None:
            break
        configs.append(config)
    return configs


def low(config: Config) -> float:
    """A value that is best where every number is lowest."""
    return sum(float(value) for value in config.values() if not isinstance(value, str))


@pytest.mark.parametrize(("search", "at_once"), [("bayesian", 3), ("tpe", 1), ("random", 3)])
@pytest.mark.parametrize(
    ("space", "count"), [(LR, None), (WHOLE, 8), (STEPS, 6), (CONDITIONAL, 4), (LARGE, None)]
)
def test_no_configuration_is_suggested_twice(
    space: Mapping[str, Any], count: int | None, search: str, at_once: int
) -> None:
    proposals = make_proposals(space, search)
    configs = search_through(proposals, low, at_once=at_once)
    assert len({identity(config) for config in configs}) == len(configs) == (count or 9)
    assert proposals.count_if_exhausted() == count


def test_a_replacement_keeps_a_distance_from_all_that_was_tried() -> None:
    """The best is at an end of the range, which the model suggests again and again."""
    rates = [config["lr"] for config in search_through(make_proposals(LR, "bayesian"), low)]
    assert min(rates) == pytest.approx(0.001)
    logarithms = sorted(math.log10(lr) / 2 for lr in rates)
    gaps = [after - before for before, after in itertools.pairwise(logarithms)]
    assert min(gaps) > 0.004


def fails_below(lr: float) -> Callable[[Config], float | None]:
    return lambda config: None if config["lr"] < lr else float(config["lr"])


@pytest.mark.parametrize(("search", "at_once"), [("bayesian", 1), ("bayesian", 3), ("tpe", 3)])
def test_the_search_leaves_a_side_that_fails(search: str, at_once: int) -> None:
    rates = [
        config["lr"]
        for config in search_through(
            make_proposals(LR, search), fails_below(0.008), at_once=at_once
        )
    ]
    assert sum(lr < 0.008 for lr in rates) <= 3
    # And it still comes near to where the best is.
    assert min(lr for lr in rates if lr >= 0.008) < 0.0101


def test_a_failure_is_the_least_value_when_maximizing() -> None:
    proposals = make_proposals(LR, "bayesian", mode="max")
    configs = search_through(
        proposals, lambda config: None if config["lr"] > 0.02 else float(config["lr"])
    )
    assert sum(config["lr"] > 0.02 for config in configs) <= 3


@pytest.mark.parametrize("search", ["bayesian", "tpe"])
def test_suggestions_keep_away_from_failures_while_everything_fails(search: str) -> None:
    rates = [c["lr"] for c in search_through(make_proposals(LR, search), lambda config: None, 7)]
    assert max(rates) > 0.09
    assert min(rates) < 0.0011
    assert max(rates[3:]) > max(rates[:3])


def test_a_category_is_suggested_again_after_a_failure() -> None:
    """One of the first trials fails by chance; `deep` is the best."""
    proposals = make_proposals(CONDITIONAL | LR, "tpe")
    flaky = iter([0.5, None])
    configs = search_through(
        proposals, lambda c: next(flaky, 0.1 if c["kind"] == "deep" else 0.5), 20
    )
    assert any(config["kind"] == "deep" for config in configs[6:])


def test_a_discarded_configuration_is_not_suggested_again() -> None:
    proposals = make_proposals(WHOLE, "bayesian")
    config = proposals.suggest(0)
    assert config is not None
    proposals.discard(0)
    others = [proposals.suggest(number) for number in range(1, 8)]
    assert config not in others
    assert proposals.suggest(8) is None


def test_random_search_does_not_depend_on_values() -> None:
    drawn = [
        search_through(make_proposals(WHOLE | LR, "random"), value, at_once=at_once)
        for value, at_once in ((low, 1), (low, 3), (lambda config: None, 1))
    ]
    assert drawn[0] == drawn[1] == drawn[2]


@pytest.mark.parametrize("points", [[{"lr": 0.05}, {"lr": 0.05}, {"lr": 0.02}]])
def test_enqueued_points_are_suggested_once_each(points: Sequence[Config]) -> None:
    proposals = make_proposals(LR, "bayesian")
    proposals.add({"lr": 0.02}, 0.3)
    proposals.enqueue(points)
    configs = search_through(proposals, low, 3)
    assert [config["lr"] for config in configs].count(0.05) == 1
    assert {"lr": 0.02} not in configs


def test_enqueued_points_may_be_next_to_each_other() -> None:
    proposals = make_proposals(LR, "bayesian")
    points = [{"lr": 0.05}, {"lr": 0.05001}]
    proposals.enqueue(points)
    assert search_through(proposals, low, 2) == points
